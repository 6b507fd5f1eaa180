/* The threads of torch's own OpenMP as a team: every member runs the same job, with barriers inside it.

   They are the calling thread's, and so those that torch's operations before and after the job have kept awake:
   a second pool would fight with them for the same cores. Without OpenMP the caller works alone. */

#ifndef SOLOMON_TEAM_H
#define SOLOMON_TEAM_H

typedef struct Team Team;

/* What every member runs; `member` counts from 0. */
typedef void (*Job)(void *work, Team *team, int member);

/* OpenMP's `GOMP_parallel`, `omp_get_thread_num` and `omp_get_num_threads`; NULL: the caller works alone. */
void team_use(void *parallel, void *number, void *count);

/* Runs the job on at most so many members, the caller one of them, and returns when all are through. */
void team_run(int members, Job job, void *work);

/* How many there are; OpenMP may give fewer than were asked for. */
int team_size(const Team *team);

/* Inside a job: waits until every member has come here. What was written before it is seen after it. */
void team_barrier(Team *team);

/* A member's part of `count` things, in whole blocks: from *first to before *last. */
void team_share(const Team *team, int member, int count, int block, int *first, int *last);

#endif
