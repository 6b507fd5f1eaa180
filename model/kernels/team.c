#include "team.h"

#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>

/* How often a barrier looks before it lets others run, and then before it sleeps. Where members outnumber free
   cores, as beside another busy process or under a quota of CPU time, spinning longer would keep the one that
   is waited for from its core, or use up what it could run on. */
enum { SPINS = 4000, YIELDS = 200 };

struct Team {
    atomic_int members;
    Job job;
    void *work;
    atomic_uint arrived; /* at the barrier, since it last opened */
    atomic_uint opened;  /* how often the barrier has */
    pthread_mutex_t lock;
    pthread_cond_t gate;  /* the barrier has opened */
    atomic_int waiting;   /* asleep at the barrier */
};

typedef void (*Parallel)(void (*region)(void *), void *argument, unsigned threads, unsigned flags);
typedef int (*Number)(void);

static Parallel parallel;
static Number number_here, count_here;

void team_use(void *run, void *number, void *count) {
    parallel = (Parallel)run;
    number_here = (Number)number;
    count_here = (Number)count;
}

static void region(void *argument) {
    Team *team = argument;
    atomic_store_explicit(&team->members, count_here(), memory_order_relaxed); /* the same by all */
    team->job(team->work, team, number_here());
}

void team_run(int members, Job job, void *work) {
    Team team = {.job = job, .work = work, .lock = PTHREAD_MUTEX_INITIALIZER, .gate = PTHREAD_COND_INITIALIZER};
    atomic_store_explicit(&team.members, 1, memory_order_relaxed);
    if (parallel && members > 1)
        parallel(region, &team, (unsigned)members, 0);
    else
        job(work, &team, 0);
    pthread_cond_destroy(&team.gate);
    pthread_mutex_destroy(&team.lock);
}

int team_size(const Team *team) { return atomic_load_explicit(&team->members, memory_order_relaxed); }

static inline void pause_briefly(void) {
#if defined(__x86_64__) || defined(__i386__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("yield");
#endif
}

void team_barrier(Team *team) {
    unsigned seen = atomic_load_explicit(&team->opened, memory_order_acquire);
    if (atomic_fetch_add_explicit(&team->arrived, 1, memory_order_acq_rel) + 1 == (unsigned)team_size(team)) {
        atomic_store_explicit(&team->arrived, 0, memory_order_relaxed);
        /* Sequentially consistent, as are the other member's: either it sees the barrier open and does not
           sleep, or it is seen to sleep here and is woken. */
        atomic_store(&team->opened, seen + 1);
        if (atomic_load(&team->waiting)) {
            pthread_mutex_lock(&team->lock);
            pthread_cond_broadcast(&team->gate);
            pthread_mutex_unlock(&team->lock);
        }
        return;
    }
    for (int looks = 0; looks < SPINS + YIELDS; looks++) {
        if (atomic_load_explicit(&team->opened, memory_order_acquire) != seen)
            return;
        if (looks < SPINS)
            pause_briefly();
        else
            sched_yield();
    }
    pthread_mutex_lock(&team->lock);
    atomic_fetch_add(&team->waiting, 1);
    while (atomic_load(&team->opened) == seen)
        pthread_cond_wait(&team->gate, &team->lock);
    atomic_fetch_sub(&team->waiting, 1);
    pthread_mutex_unlock(&team->lock);
}

void team_share(const Team *team, int member, int count, int block, int *first, int *last) {
    const int members = team_size(team), blocks = (count + block - 1) / block;
    int start = (int)((long)blocks * member / members) * block;
    int end = (int)((long)blocks * (member + 1) / members) * block;
    *first = start < count ? start : count;
    *last = end < count ? end : count;
}
