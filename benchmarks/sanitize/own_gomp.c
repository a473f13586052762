/* As much of GCC's OpenMP runtime as our kernels call, on plain pthreads. ThreadSanitizer does not see how libgomp keeps its
 * threads in step and reports races that are none; through pthreads it sees everything. */
#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>

typedef struct {
    int count;
    pthread_barrier_t barrier;
    pthread_mutex_t lock;
    bool begun;
    long next, end, step, chunk;
} Team;
typedef struct {
    Team* team;
    int number;
    void (*work)(void*);
    void* data;
} Member;

static __thread Team* team;
static __thread int number;

int omp_get_max_threads(void) {
    const char* given = getenv("OMP_NUM_THREADS");
    return given && atoi(given) > 0 ? atoi(given) : 4;
}
int omp_get_thread_num(void) { return number; }
int omp_get_num_threads(void) { return team ? team->count : 1; }
int omp_in_parallel(void) { return team && team->count > 1; }
void GOMP_barrier(void) { if (team) pthread_barrier_wait(&team->barrier); }

static void* run(void* given) {
    Member* member = given;
    Team* outer = team;
    const int outer_number = number;
    team = member->team, number = member->number;
    member->work(member->data);
    team = outer, number = outer_number;
    return NULL;
}

static void start(void (*work)(void*), void* data, unsigned threads, Team* made) {
    made->count = team ? 1 : (threads ? (int)threads : omp_get_max_threads()); /* nested regions run alone */
    pthread_barrier_init(&made->barrier, NULL, (unsigned)made->count);
    pthread_mutex_init(&made->lock, NULL);
    Member* members = malloc(sizeof(Member) * (size_t)made->count);
    pthread_t* ids = malloc(sizeof(pthread_t) * (size_t)made->count);
    for (int i = 0; i < made->count; ++i) members[i] = (Member){made, i, work, data};
    for (int i = 1; i < made->count; ++i) pthread_create(ids + i, NULL, run, members + i);
    run(members);
    for (int i = 1; i < made->count; ++i) pthread_join(ids[i], NULL);
    free(members), free(ids);
    pthread_mutex_destroy(&made->lock);
    pthread_barrier_destroy(&made->barrier);
}

void GOMP_parallel(void (*work)(void*), void* data, unsigned threads, unsigned flags) {
    (void)flags;
    Team made = {0};
    start(work, data, threads, &made);
}

void GOMP_parallel_loop_nonmonotonic_dynamic(void (*work)(void*), void* data, unsigned threads, long first, long end, long step,
                                             long chunk, unsigned flags) {
    (void)flags;
    Team made = {.begun = true, .next = first, .end = end, .step = step, .chunk = chunk};
    start(work, data, threads, &made);
}

bool GOMP_loop_nonmonotonic_dynamic_next(long* from, long* to) {
    pthread_mutex_lock(&team->lock);
    const bool more = team->next < team->end;
    if (more) {
        *from = team->next;
        *to = team->next + team->chunk * team->step;
        if (*to > team->end) *to = team->end;
        team->next = *to;
    }
    pthread_mutex_unlock(&team->lock);
    return more;
}

bool GOMP_loop_nonmonotonic_dynamic_start(long first, long end, long step, long chunk, long* from, long* to) {
    pthread_mutex_lock(&team->lock);
    if (!team->begun) team->begun = true, team->next = first, team->end = end, team->step = step, team->chunk = chunk;
    pthread_mutex_unlock(&team->lock);
    return GOMP_loop_nonmonotonic_dynamic_next(from, to);
}

void GOMP_loop_end(void) {
    pthread_barrier_wait(&team->barrier);
    if (number == 0) team->begun = false;
    pthread_barrier_wait(&team->barrier);
}

void GOMP_loop_end_nowait(void) {}
