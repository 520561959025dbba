// What the processes of one cluster share: databases, handler workers, lanes, publish counters. Plain structs
// with atomics and a lock; it is all lost in a crash restart, and nothing durable depends on it: claims die
// with the process that held them, the fence is the unique (lane, number) row.
//
// Locking: `lock` guards every plain field below; atomics are read and written without it. Nothing that can
// raise runs under the lock. Commit callbacks touch atomics only.
#pragma once

#include "domain/uuid.hpp"
#include "pg/lock.hpp"

namespace saga::worker {

inline constexpr int kDatabasesMax = 64;
inline constexpr int kWorkersMax = 256;
inline constexpr int kSubscriptionsMax = 4096;
inline constexpr std::uint32_t kCounters = 16384;
inline constexpr std::int16_t kTopicLane = -1;  // partition number of the one lane of ordering => 'topic'

/// Next states: Unknown -> Starting; Starting -> Served, Absent, Unknown (start failed); Served -> Unknown (the
/// engine ended); Absent -> Unknown (its first announcement).
enum class DatabaseState : std::uint8_t { Unknown, Starting, Served, Absent };

struct DatabaseEntry {
  Oid database;  // InvalidOid: free
  DatabaseState state;
  int engine_process;  // process number, -1 while there is no engine
  pid_t engine_pid;
  std::int64_t not_before_us;       // restart throttle, monotonic
  pg_atomic_uint32 config_version;  // bumped by every commit that changed topics or subscriptions
  pg_atomic_uint64 published;       // bumped by every commit that published
  pg_atomic_uint32 engine_asleep;   // 1: the next publishing commit sets the engine's latch
  pg_atomic_uint32 workers_wanted;  // 1: a commit found no idle worker
  pg_atomic_uint32 waiters;         // sessions in wait_for_*
  ConditionVariable progressed;     // broadcast after batches while there are waiters
};

/// Next states: Free -> Starting (engine); Starting -> Idle (worker) or Free; Idle <-> Busy; any -> Free (exit).
enum class WorkerState : std::uint8_t { Free, Starting, Idle, Busy };

/// Why the supervisor, or an operator, ends the run of one event.
enum class StopReason : std::uint32_t { None, TimeLimit, Operator };

struct WorkerSlot {
  WorkerState state;
  bool retire;  // ends itself after its lane turn
  Oid database;
  Oid role;
  pid_t pid;
  int process;  // process number
  std::uint64_t generation;
  pg_atomic_uint32 asleep;  // 1: waits on its latch for work

  // What it runs now. Written by the worker alone, in this order: fields, then event_number; readers compare the
  // event number before and after.
  int subscription_id;
  std::int16_t partition;
  domain::Uuid event_id;
  std::int64_t event_position;
  int attempt;
  TimestampTz started_at;
  pg_atomic_uint64 event_number;  // grows with each handler run; 0 = no handler is running
  pg_atomic_uint64 deadline_us;   // monotonic; of the running handler
  pg_atomic_uint64 stop_event;    // event_number that shall be stopped
  pg_atomic_uint32 stop_reason;   // StopReason
  pg_atomic_uint32 hard_stopped;  // 1: terminated by the supervisor
};

struct SubscriptionEntry {
  Oid database;  // InvalidOid: free
  int subscription_id;
  int topic_id;
  Oid role;
  int concurrency;
  int running;  // lanes claimed now
  std::int64_t timeout_us;
  bool runnable;  // neither paused nor blocked
};

/// How a lane runs its next events. Next modes: Batch -> PerEvent (an event failed) or Single (a conflict, a lost
/// worker); PerEvent -> Batch; Single -> Batch; each after mode_left events.
enum class LaneMode : std::uint8_t { Batch, PerEvent, Single };

struct LaneEntry {
  int subscription;  // index into subscriptions, -1: free
  std::int16_t partition;
  LaneMode mode;
  bool forced;        // there is work whatever the counters say
  bool hard_stopped;  // its worker was terminated because stopped_event had passed its hard time limit
  domain::Uuid stopped_event;
  int suspect_left;         // a worker was lost here: that many events run alone, each marked before it runs
  std::uint16_t conflicts;  // in a row, of the event alone in its transaction
  int mode_left;
  int claimed_by;              // worker index, -1: free
  std::uint64_t seen;          // publish count at the last read
  std::int64_t not_before_us;  // monotonic
  TimestampTz next_due;        // wall clock: the earliest parked event; DT_NOEND: none
  std::uint64_t last_served;
};

struct SharedState {
  LWLock *lock;
  int launcher_process;
  bool crashed_before;          // this memory was made after a crash of some process
  std::uint64_t service_clock;  // orders lane turns: the lane served longest ago is next
  std::uint64_t generation_clock;
  int subscriptions_used;
  int lanes_used;  // high-water mark
  int lanes_capacity;
  pg_atomic_uint64 everything;  // bumped by COMMIT PREPARED and by the sweep: every lane has work
  pg_atomic_uint64 published[kCounters];
  DatabaseEntry databases[kDatabasesMax];
  WorkerSlot workers[kWorkersMax];
  SubscriptionEntry subscriptions[kSubscriptionsMax];
  LaneEntry lanes[FLEXIBLE_ARRAY_MEMBER];
};

static_assert(std::is_standard_layout_v<SharedState> && std::is_trivially_copyable_v<LaneEntry>);

/// Called by _PG_init of a preloaded library: reserves and later initialises the memory.
void request_shared_state();

/// Whether the library was preloaded.
[[nodiscard]] bool shared_state_ready() noexcept;

/// Throws SG030 with the way out when the library was not preloaded.
SharedState &shared_state();

/// As shared_state(), for callbacks that must not throw; only while shared_state_ready().
SharedState &shared_state_unchecked() noexcept;

/// Publish counter of one partition of one topic; collisions only cost a needless look.
[[nodiscard]] std::uint32_t counter_of(Oid database, int topic_id, std::int16_t partition) noexcept;

/// The entry of a database; adds it when create is set. nullptr: not there, or no room. Takes the lock.
DatabaseEntry *database_entry(Oid database, bool create) noexcept;

void set_latch_of(int process) noexcept;

}  // namespace saga::worker
