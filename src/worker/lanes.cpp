#include "worker/lanes.hpp"

#include "pg/clock.hpp"
#include "pg/settings.hpp"

namespace saga::worker {

namespace {

std::uint64_t publishes_of(const SharedState &s, const SubscriptionEntry &subscription,
                           std::int16_t partition) noexcept {
  auto &state = const_cast<SharedState &>(s);
  return pg_atomic_read_u64(&state.published[counter_of(subscription.database, subscription.topic_id, partition)]) +
         pg_atomic_read_u64(&state.everything);
}

/// The wall clock's due time on the monotonic clock, so that the two are compared in one place.
bool is_due(TimestampTz due, TimestampTz wall_now) noexcept { return due != DT_NOEND && due <= wall_now; }

bool has_work(const SharedState &s, const LaneEntry &lane, TimestampTz wall_now) noexcept {
  const SubscriptionEntry &subscription = s.subscriptions[lane.subscription];
  return lane.forced || publishes_of(s, subscription, lane.partition) != lane.seen || is_due(lane.next_due, wall_now);
}

bool claimable(const SharedState &s, const LaneEntry &lane, std::int64_t now_us, TimestampTz wall_now) noexcept {
  const SubscriptionEntry &subscription = s.subscriptions[lane.subscription];
  return lane.claimed_by < 0 && subscription.runnable && lane.not_before_us <= now_us &&
         subscription.running < subscription.concurrency && has_work(s, lane, wall_now);
}

int free_subscription(SharedState &s) noexcept {
  for (int i = 0; i < kSubscriptionsMax; ++i) {
    if (!OidIsValid(s.subscriptions[i].database)) {
      s.subscriptions_used = std::max(s.subscriptions_used, i + 1);
      return i;
    }
  }
  return -1;
}

int find_subscription(const SharedState &s, Oid database, int id) noexcept {
  for (int i = 0; i < s.subscriptions_used; ++i) {
    if (s.subscriptions[i].database == database && s.subscriptions[i].subscription_id == id) return i;
  }
  return -1;
}

bool add_lane(SharedState &s, int subscription, std::int16_t partition) noexcept {
  LaneEntry *free_lane = nullptr;
  for (int i = 0; i < s.lanes_used; ++i) {
    LaneEntry &lane = s.lanes[i];
    if (lane.subscription == subscription && lane.partition == partition) return true;
    if (lane.subscription < 0 && lane.claimed_by < 0 && free_lane == nullptr) free_lane = &lane;
  }
  if (free_lane == nullptr) {
    if (s.lanes_used == s.lanes_capacity) return false;
    free_lane = &s.lanes[s.lanes_used++];
  }
  *free_lane = LaneEntry{};
  free_lane->subscription = subscription;
  free_lane->partition = partition;
  free_lane->claimed_by = -1;
  free_lane->forced = true;
  free_lane->next_due = DT_NOEND;
  // Nobody knows which events were running when some process crashed: the next ones prove themselves innocent.
  free_lane->suspect_left = s.crashed_before ? pg::settings::batch_size : 0;
  return true;
}

void remove_subscription(SharedState &s, int index) noexcept {
  for (int i = 0; i < s.lanes_used; ++i) {
    if (s.lanes[i].subscription == index) s.lanes[i].subscription = -1;
  }
  s.subscriptions[index] = SubscriptionEntry{};
}

bool listed(const std::vector<store::Subscription> &subscriptions, int id) noexcept {
  return std::any_of(subscriptions.begin(), subscriptions.end(), [&](const auto &s) { return s.id == id; });
}

bool add_subscription(SharedState &s, Oid database, const store::Subscription &wanted, bool runnable) noexcept {
  int index = find_subscription(s, database, wanted.id);
  if (index < 0) index = free_subscription(s);
  if (index < 0) return false;
  SubscriptionEntry &entry = s.subscriptions[index];
  const int running = OidIsValid(entry.database) ? entry.running : 0;
  entry = SubscriptionEntry{
      database,           wanted.id, wanted.topic_id,   wanted.run_as_oid,
      wanted.concurrency, running,   wanted.timeout_us, runnable && !wanted.paused_reason.has_value()};
  if (wanted.ordering == store::Ordering::Topic) return add_lane(s, index, kTopicLane);
  for (int partition = 0; partition < wanted.partitions; ++partition) {
    if (!add_lane(s, index, static_cast<std::int16_t>(partition))) return false;
  }
  return true;
}

}  // namespace

void wake_idle_worker(Oid database, Oid role) noexcept {
  for (WorkerSlot &w : shared_state_unchecked().workers) {
    if (w.state == WorkerState::Free || w.database != database || w.role != role) continue;
    if (pg_atomic_read_u32(&w.asleep) == 0 || pg_atomic_exchange_u32(&w.asleep, 0) == 0) continue;
    set_latch_of(w.process);
    return;
  }
}

std::optional<Claim> claim_lane(int worker, Oid database, Oid role) noexcept {
  SharedState &s = shared_state_unchecked();
  const std::int64_t now_us = pg::monotonic_us();
  const TimestampTz wall_now = GetCurrentTimestamp();
  pg::LockGuard guard{s.lock, LW_EXCLUSIVE};
  int best = -1;
  int ready = 0;
  for (int i = 0; i < s.lanes_used; ++i) {
    const LaneEntry &lane = s.lanes[i];
    if (lane.subscription < 0) continue;
    const SubscriptionEntry &subscription = s.subscriptions[lane.subscription];
    if (subscription.database != database || subscription.role != role) continue;
    if (!claimable(s, lane, now_us, wall_now)) continue;
    ++ready;
    if (best < 0 || lane.last_served < s.lanes[best].last_served) best = i;
  }
  if (best < 0) return std::nullopt;
  if (ready > 1) wake_idle_worker(database, role);  // more than this worker can take
  LaneEntry &lane = s.lanes[best];
  SubscriptionEntry &subscription = s.subscriptions[lane.subscription];
  lane.claimed_by = worker;
  lane.forced = false;
  lane.last_served = ++s.service_clock;
  ++subscription.running;
  return Claim{best,
               subscription.subscription_id,
               lane.partition,
               publishes_of(s, subscription, lane.partition),
               lane.mode,
               lane.mode_left,
               lane.conflicts,
               lane.suspect_left,
               lane.hard_stopped ? std::optional(lane.stopped_event) : std::nullopt};
}

std::uint64_t publishes_now(const Claim &claim) noexcept {
  const SharedState &s = shared_state_unchecked();
  const int subscription = s.lanes[claim.lane].subscription;
  return subscription < 0 ? 0 : publishes_of(s, s.subscriptions[subscription], claim.partition);
}

void release_lane(const Claim &claim, const TurnEnd &end) noexcept {
  SharedState &s = shared_state_unchecked();
  pg::LockGuard guard{s.lock, LW_EXCLUSIVE};
  LaneEntry &lane = s.lanes[claim.lane];
  lane.claimed_by = -1;
  if (lane.subscription < 0) return;  // unsubscribed meanwhile
  SubscriptionEntry &subscription = s.subscriptions[lane.subscription];
  if (subscription.running > 0) --subscription.running;
  lane.forced = lane.forced || end.more;
  if (end.read_all) lane.seen = claim.publishes;
  lane.not_before_us = end.not_before_us;
  lane.next_due = end.next_due;
  lane.mode = end.mode;
  lane.mode_left = end.mode_left;
  lane.conflicts = end.conflicts;
  lane.suspect_left = end.suspect_left;
  lane.hard_stopped = false;
}

void release_all_of(int worker, int suspects) noexcept {
  SharedState &s = shared_state_unchecked();
  const WorkerSlot &slot = s.workers[worker];
  const bool hard_stopped = pg_atomic_read_u32(&const_cast<WorkerSlot &>(slot).hard_stopped) != 0;
  pg::LockGuard guard{s.lock, LW_EXCLUSIVE};
  for (int i = 0; i < s.lanes_used; ++i) {
    LaneEntry &lane = s.lanes[i];
    if (lane.claimed_by != worker) continue;
    lane.claimed_by = -1;
    if (lane.subscription < 0) continue;
    SubscriptionEntry &subscription = s.subscriptions[lane.subscription];
    if (subscription.running > 0) --subscription.running;
    lane.forced = true;
    lane.hard_stopped = hard_stopped;
    lane.stopped_event = slot.event_id;
    if (!hard_stopped) lane.suspect_left = std::max(lane.suspect_left, suspects);
  }
}

bool lane_is_ready(Oid database, Oid role) noexcept {
  SharedState &s = shared_state_unchecked();
  const std::int64_t now_us = pg::monotonic_us();
  const TimestampTz wall_now = GetCurrentTimestamp();
  pg::LockGuard guard{s.lock, LW_SHARED};
  for (int i = 0; i < s.lanes_used; ++i) {
    const LaneEntry &lane = s.lanes[i];
    if (lane.subscription < 0) continue;
    const SubscriptionEntry &subscription = s.subscriptions[lane.subscription];
    if (subscription.database == database && subscription.role == role && claimable(s, lane, now_us, wall_now))
      return true;
  }
  return false;
}

std::int64_t next_due_us(Oid database, Oid role) noexcept {
  SharedState &s = shared_state_unchecked();
  const std::int64_t now_us = pg::monotonic_us();
  const TimestampTz wall_now = GetCurrentTimestamp();
  std::int64_t earliest = INT64_MAX;
  pg::LockGuard guard{s.lock, LW_SHARED};
  for (int i = 0; i < s.lanes_used; ++i) {
    const LaneEntry &lane = s.lanes[i];
    if (lane.subscription < 0 || lane.claimed_by >= 0) continue;
    const SubscriptionEntry &subscription = s.subscriptions[lane.subscription];
    if (subscription.database != database || !subscription.runnable) continue;
    if (OidIsValid(role) && subscription.role != role) continue;
    if (lane.next_due != DT_NOEND) {
      earliest = std::min(earliest, std::max(lane.not_before_us, now_us + (lane.next_due - wall_now)));
    }
    if (lane.not_before_us > now_us && has_work(s, lane, wall_now)) earliest = std::min(earliest, lane.not_before_us);
  }
  return earliest;
}

int demand_of(Oid database, Demand *demands, int max, std::int64_t *earliest) noexcept {
  SharedState &s = shared_state_unchecked();
  const std::int64_t now_us = pg::monotonic_us();
  const TimestampTz wall_now = GetCurrentTimestamp();
  *earliest = next_due_us(database, InvalidOid);
  int count = 0;
  const auto entry_of = [&](Oid role) -> Demand * {
    for (int i = 0; i < count; ++i) {
      if (demands[i].role == role) return &demands[i];
    }
    if (count == max) return nullptr;
    demands[count] = Demand{role, 0, 0, 0};
    return &demands[count++];
  };
  pg::LockGuard guard{s.lock, LW_SHARED};
  for (int i = 0; i < s.lanes_used; ++i) {
    const LaneEntry &lane = s.lanes[i];
    if (lane.subscription < 0) continue;
    const SubscriptionEntry &subscription = s.subscriptions[lane.subscription];
    if (subscription.database != database || !claimable(s, lane, now_us, wall_now)) continue;
    if (Demand *d = entry_of(subscription.role)) ++d->lanes;
  }
  for (WorkerSlot &w : s.workers) {
    if (w.state == WorkerState::Free || w.database != database) continue;
    Demand *d = entry_of(w.role);
    if (d == nullptr) continue;
    ++d->workers;
    if (w.state != WorkerState::Busy) ++d->idle;
  }
  return count;
}

bool synchronise_lanes(Oid database, const std::vector<store::Subscription> &subscriptions, bool runnable) noexcept {
  SharedState &s = shared_state_unchecked();
  pg::LockGuard guard{s.lock, LW_EXCLUSIVE};
  for (int i = 0; i < s.subscriptions_used; ++i) {
    if (s.subscriptions[i].database == database && !listed(subscriptions, s.subscriptions[i].subscription_id)) {
      remove_subscription(s, i);
    }
  }
  bool room = true;
  for (const store::Subscription &wanted : subscriptions) {
    room = add_subscription(s, database, wanted, runnable) && room;
  }
  return room;
}

void force_all_lanes(Oid database) noexcept {
  SharedState &s = shared_state_unchecked();
  pg::LockGuard guard{s.lock, LW_EXCLUSIVE};
  for (int i = 0; i < s.lanes_used; ++i) {
    LaneEntry &lane = s.lanes[i];
    if (lane.subscription >= 0 && s.subscriptions[lane.subscription].database == database) lane.forced = true;
  }
}

}  // namespace saga::worker
