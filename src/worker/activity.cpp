#include "worker/activity.hpp"

#include <csignal>

namespace saga::worker {

namespace {

int topic_of(const SharedState &s, int subscription_id) noexcept {
  for (int i = 0; i < s.subscriptions_used; ++i) {
    const SubscriptionEntry &entry = s.subscriptions[i];
    if (entry.database == MyDatabaseId && entry.subscription_id == subscription_id) return entry.topic_id;
  }
  return 0;
}

/// The run as one consistent picture; left out when it ended while it was read.
void read_run(SharedState &s, WorkerSlot &slot, Activity &seen) noexcept {
  const std::uint64_t number = pg_atomic_read_u64(&slot.event_number);
  if (number == 0) return;
  pg_read_barrier();
  Activity run = seen;
  run.running = true;
  run.subscription_id = slot.subscription_id;
  run.topic_id = topic_of(s, slot.subscription_id);
  run.partition = slot.partition;
  run.event_id = slot.event_id;
  run.attempt = slot.attempt;
  run.started_at = slot.started_at;
  pg_read_barrier();
  if (pg_atomic_read_u64(&slot.event_number) == number) seen = run;
}

}  // namespace

std::vector<Activity> activity() {
  std::vector<Activity> seen;
  if (!shared_state_ready()) return seen;
  seen.reserve(kWorkersMax);  // nothing is allocated under the lock
  SharedState &s = shared_state_unchecked();
  pg::LockGuard guard{s.lock, LW_SHARED};
  for (WorkerSlot &slot : s.workers) {
    if (slot.state == WorkerState::Free || slot.database != MyDatabaseId) continue;
    Activity one;
    one.pid = slot.pid;
    one.role = slot.role;
    one.state = slot.state;
    read_run(s, slot, one);
    seen.push_back(one);
  }
  return seen;
}

bool stop_running(int subscription_id, const domain::Uuid &event_id) noexcept {
  if (!shared_state_ready()) return false;
  SharedState &s = shared_state_unchecked();
  pg::LockGuard guard{s.lock, LW_SHARED};  // keeps the slot from going to another process
  for (WorkerSlot &slot : s.workers) {
    if (slot.state == WorkerState::Free || slot.database != MyDatabaseId) continue;
    const std::uint64_t number = pg_atomic_read_u64(&slot.event_number);
    if (number == 0) continue;
    pg_read_barrier();
    const bool same = slot.subscription_id == subscription_id && slot.event_id == event_id;
    pg_read_barrier();
    if (!same || pg_atomic_read_u64(&slot.event_number) != number) continue;
    pg_atomic_write_u64(&slot.stop_event, number);
    pg_write_barrier();
    pg_atomic_write_u32(&slot.stop_reason, static_cast<std::uint32_t>(StopReason::Operator));
    return slot.pid > 0 && kill(slot.pid, SIGINT) == 0;
  }
  return false;
}

}  // namespace saga::worker
