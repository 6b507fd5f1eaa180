/* A team of threads that runs one job at a time, every member together, with barriers inside the job.

   The caller is member 0. Members spin for a moment before they sleep, so the many short phases of a
   decode step cost about a microsecond each. Nothing is shared with torch's own threads. */

#ifndef SOLOMON_TEAM_H
#define SOLOMON_TEAM_H

typedef struct Team Team;

/* What every member runs; `member` counts from 0. */
typedef void (*Job)(void *work, Team *team, int member);

Team *team_new(int members); /* NULL where a thread cannot be started */
void team_free(Team *team);
int team_size(const Team *team);

/* Runs the job on every member and returns when all are through; not to be called by two threads at once. */
void team_run(Team *team, Job job, void *work);

/* Inside a job: waits until every member has come here. What was written before it is seen after it. */
void team_barrier(Team *team);

/* A member's part of `count` things, in whole blocks: from *first to before *last. */
void team_share(const Team *team, int member, int count, int block, int *first, int *last);

#endif
