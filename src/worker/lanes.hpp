// Claims: which lane a worker works on next, and what it leaves behind. A lane is worked by one worker at a time;
// the claim lives in shared memory and dies with its process.
#pragma once

#include "store/subscriptions.hpp"
#include "worker/shared_state.hpp"

namespace saga::worker {

struct Claim {
  int lane = -1;  // index into SharedState::lanes
  int subscription_id = 0;
  std::int16_t partition = 0;
  std::uint64_t publishes = 0;  // count before anything was read: what is published later is news
  LaneMode mode = LaneMode::Batch;
  int mode_left = 0;
  std::uint16_t conflicts = 0;
  int suspect_left = 0;
  std::optional<domain::Uuid> hard_stopped;  // this event was running when its worker had to be terminated
};

/// What a lane turn came to.
struct TurnEnd {
  bool more = false;               // there is work left: the turn ended because its time was up
  bool read_all = false;           // everything published before the claim was read
  std::int64_t not_before_us = 0;  // monotonic; 0: at once
  TimestampTz next_due = 0;
  LaneMode mode = LaneMode::Batch;
  int mode_left = 0;
  std::uint16_t conflicts = 0;
  int suspect_left = 0;
};

/// The publish count of the claimed lane now: what is published after this look is news.
std::uint64_t publishes_now(const Claim &claim) noexcept;

/// The runnable lane of this role that was served longest ago; nullopt: none has work.
std::optional<Claim> claim_lane(int worker, Oid database, Oid role) noexcept;

void release_lane(const Claim &claim, const TurnEnd &end) noexcept;

/// Gives back whatever a dead worker held. suspects: so many events of those lanes run alone and marked next.
void release_all_of(int worker, int suspects) noexcept;

/// Whether claim_lane() would find one.
bool lane_is_ready(Oid database, Oid role) noexcept;

/// Monotonic time at which a lane of this role has something due; INT64_MAX: nothing.
std::int64_t next_due_us(Oid database, Oid role) noexcept;

/// Sets the latch of one worker of the role that sleeps.
void wake_idle_worker(Oid database, Oid role) noexcept;

/// Work that waits per role, for the engine's decision how many workers to start.
struct Demand {
  Oid role;
  int lanes;    // runnable, unclaimed, with work
  int workers;  // processes of the role
  int idle;
};
/// Fills at most max entries and returns how many.
int demand_of(Oid database, Demand *demands, int max, std::int64_t *next_due_us) noexcept;

/// Makes the shared lanes of a database what its subscriptions say. False: no room for all of them.
bool synchronise_lanes(Oid database, const std::vector<store::Subscription> &subscriptions, bool runnable) noexcept;

/// Every lane of the database has work, whatever the counters say.
void force_all_lanes(Oid database) noexcept;

}  // namespace saga::worker
