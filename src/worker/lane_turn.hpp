// One turn of a worker at one lane: parked events that are due, then new ones, batch by batch, until nothing is left
// or the turn's time is up. Every batch is one transaction: effects, progress and tracking rows commit together.
#pragma once

#include "pg/memory.hpp"
#include "store/dead_letters.hpp"
#include "store/lane_reader.hpp"
#include "worker/handler.hpp"
#include "worker/lanes.hpp"

namespace saga::worker {

/// One event to run, fresh from the log or parked.
struct Item {
  store::EventRef ref;
  std::optional<std::string> key;
  Datum event = 0;
  domain::Position position = 0;
  std::int16_t depth = 0;
  std::optional<std::string> external_id;
  TimestampTz published_at = 0;
  std::int64_t parked_id = 0;  // 0: fresh
  bool queued = false;         // parked in the queue of its key
  int attempts = 0;
  int crashes = 0;
  std::optional<TimestampTz> first_failed_at;
};

/// What became of an item in this batch; written after the handlers have finished.
struct Disposition {
  enum class Kind : std::uint8_t { Delivered, Failed, Behind, Delayed, Missing };
  const Item *item = nullptr;
  Kind kind = Kind::Delivered;
  HandlerResult run;
  domain::Decision decision;
  TimestampTz due_at = 0;
};

class LaneTurn {
 public:
  LaneTurn(WorkerSlot &slot, const Claim &claim, const store::Subscription &subscription);

  /// Throws what ends the process or blocks the subscription; a handler's failures are not thrown.
  TurnEnd run();

 private:
  enum class Step : std::uint8_t { Worked, Idle, Stop };

  Step step();
  void prepare();
  Step run_due();
  Step run_fresh();
  void mark_suspect();

  /// Runs the items and commits. False: the transaction was rolled back, and the lane's mode says how to go on.
  bool run_batch(std::vector<Item> items, bool fresh);
  std::size_t run_all_at_once(const std::vector<Item> &items, std::vector<Disposition> &done);
  void run_one_by_one(const std::vector<Item> &items, std::size_t known_failure, std::vector<Disposition> &done);
  bool pass_over(const Item &item, std::vector<Disposition> &done);
  Disposition attempt(const Item &item);
  Disposition judge(const Item &item, HandlerResult run);
  bool batch_is_full(std::size_t done) const;

  void record(const std::vector<Disposition> &done, bool fresh);
  void record_fresh(const std::vector<Disposition> &done);
  void record_delivered_parked(const Disposition &d);
  void record_failed(const Disposition &d);
  void record_final(const Disposition &d);
  void park(const Disposition &d, store::WaitingFor waiting_for, TimestampTz due_at, bool holds);
  void release_queues(const std::vector<Disposition> &done);

  void on_conflict(const pg::Error &error, std::size_t events);
  void charge_conflict(const std::vector<Item> &items, bool fresh, const pg::Error &error);
  void charge(const Item &item, bool fresh, const pg::Error &error, const char *sqlstate);
  void forget_position();
  void keep_locked(std::vector<Item> &items) const;
  void refuse_endless_queues(const std::vector<Disposition> &done) const;
  [[nodiscard]] bool holds_keys() const noexcept { return subscription_.ordering != store::Ordering::None; }
  [[nodiscard]] std::vector<Item> fresh_items() const;
  [[nodiscard]] std::size_t batch_limit() const;
  void unmark(const Item &item);
  void leave_mode(std::size_t events);
  TurnEnd end(bool more, bool read_all) const;

  WorkerSlot &slot_;
  Claim claim_;
  store::Subscription subscription_;
  store::Lane lane_;
  Handler handler_;
  pg::OwnedContext chunk_memory_;
  pg::OwnedContext parked_memory_;
  std::optional<store::Cursor> cursor_;
  store::Chunk chunk_;
  std::size_t next_ = 0;  // first event of the chunk that is not done
  bool have_chunk_ = false;
  store::LaneWaits waits_;
  bool waits_known_ = false;
  std::vector<std::string> held_;
  std::uint64_t read_at_ = 0;  // publish count before the newest window was taken
  std::int64_t started_us_ = 0;
  std::int64_t batch_started_us_ = 0;
  std::int64_t not_before_us_ = 0;
  bool session_dirty_ = false;
  bool marked_ = false;  // the event that runs alone was marked before
  std::vector<store::ParkedEvent> due_;
};

}  // namespace saga::worker
