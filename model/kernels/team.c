#include "team.h"

#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>

/* How often a wait looks before it lets others run, and then before it sleeps. Where members outnumber free
   cores, as beside another busy process or under a quota of CPU time, spinning longer would keep the one that
   is waited for from its core, or use up what it could run on. */
enum { SPINS = 4000, YIELDS = 40, YIELDS_INSIDE = 200 };

struct Team {
    int members;
    pthread_t *threads; /* of members 1 and on */
    Job job;
    void *work;
    atomic_uint started; /* how many jobs have begun */
    atomic_uint arrived; /* at the barrier, since it last opened */
    atomic_uint opened;  /* how often the barrier has */
    pthread_mutex_t lock;
    pthread_cond_t wake; /* a job has begun */
    pthread_cond_t gate; /* the barrier has opened */
    int asleep;          /* between jobs; under the lock */
    atomic_int waiting;  /* asleep at the barrier */
    atomic_bool ending;
};

typedef struct {
    Team *team;
    int member;
} Place;

static inline void pause_briefly(void) {
#if defined(__x86_64__) || defined(__i386__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("yield");
#endif
}

void team_barrier(Team *team) {
    unsigned seen = atomic_load_explicit(&team->opened, memory_order_acquire);
    if (atomic_fetch_add_explicit(&team->arrived, 1, memory_order_acq_rel) + 1 == (unsigned)team->members) {
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
    for (int looks = 0; looks < SPINS + YIELDS_INSIDE; looks++) {
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

/* Returns the number of the job that follows `seen`, or `seen` itself when the team ends. */
static unsigned next_job(Team *team, unsigned seen) {
    unsigned started;
    for (int looks = 0; looks < SPINS + YIELDS; looks++) {
        started = atomic_load_explicit(&team->started, memory_order_acquire);
        if (started != seen || atomic_load_explicit(&team->ending, memory_order_relaxed))
            return started;
        if (looks < SPINS)
            pause_briefly();
        else
            sched_yield();
    }
    pthread_mutex_lock(&team->lock);
    team->asleep++;
    while ((started = atomic_load_explicit(&team->started, memory_order_acquire)) == seen &&
           !atomic_load(&team->ending))
        pthread_cond_wait(&team->wake, &team->lock);
    team->asleep--;
    pthread_mutex_unlock(&team->lock);
    return started;
}

static void *serve(void *argument) {
    Place place = *(Place *)argument;
    free(argument);
    unsigned seen = 0;
    for (;;) {
        unsigned started = next_job(place.team, seen);
        if (started == seen)
            return NULL;
        seen = started;
        place.team->job(place.team->work, place.team, place.member);
        team_barrier(place.team);
    }
}

Team *team_new(int members) {
    Team *team = calloc(1, sizeof *team);
    if (!team)
        return NULL;
    team->threads = calloc((size_t)members, sizeof *team->threads);
    pthread_mutex_init(&team->lock, NULL);
    pthread_cond_init(&team->wake, NULL);
    pthread_cond_init(&team->gate, NULL);
    team->members = 1;
    while (team->threads && team->members < members) {
        Place *place = malloc(sizeof *place);
        if (!place)
            break;
        *place = (Place){team, team->members};
        if (pthread_create(&team->threads[team->members], NULL, serve, place)) {
            free(place);
            break;
        }
        team->members++;
    }
    if (team->members == members)
        return team;
    team_free(team);
    return NULL;
}

void team_free(Team *team) {
    pthread_mutex_lock(&team->lock);
    atomic_store(&team->ending, true);
    pthread_cond_broadcast(&team->wake);
    pthread_mutex_unlock(&team->lock);
    for (int member = 1; member < team->members; member++)
        pthread_join(team->threads[member], NULL);
    pthread_cond_destroy(&team->gate);
    pthread_cond_destroy(&team->wake);
    pthread_mutex_destroy(&team->lock);
    free(team->threads);
    free(team);
}

int team_size(const Team *team) { return team->members; }

void team_run(Team *team, Job job, void *work) {
    team->job = job;
    team->work = work;
    pthread_mutex_lock(&team->lock);
    atomic_fetch_add_explicit(&team->started, 1, memory_order_acq_rel);
    if (team->asleep)
        pthread_cond_broadcast(&team->wake);
    pthread_mutex_unlock(&team->lock);
    job(work, team, 0);
    team_barrier(team); /* the others are through as well */
}

void team_share(const Team *team, int member, int count, int block, int *first, int *last) {
    int blocks = (count + block - 1) / block;
    int start = (int)((long)blocks * member / team->members) * block;
    int end = (int)((long)blocks * (member + 1) / team->members) * block;
    *first = start < count ? start : count;
    *last = end < count ? end : count;
}
