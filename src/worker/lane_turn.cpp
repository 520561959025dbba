#include "worker/lane_turn.hpp"

#include <algorithm>

#include "domain/error_class.hpp"
#include "pg/clock.hpp"
#include "pg/identity.hpp"
#include "pg/random.hpp"
#include "pg/settings.hpp"
#include "worker/fault_points.hpp"

namespace saga::worker {

namespace {

constexpr std::int64_t kTurnUs = 200'000;  // then other lanes have their turn
constexpr std::int64_t kMovedUs = 20'000;
constexpr int kSubtransactionsMax = 50;  // past 64 in one transaction every session of the server pays
constexpr int kDueMax = 50;
constexpr std::size_t kNoFailure = SIZE_MAX;

/// The batch cannot go on as it is: a conflict, a disk that is full, a cancel that names no event.
class BatchAborted {
 public:
  BatchAborted(pg::Error error, domain::ErrorClass error_class, domain::Cause cause)
      : error_(std::move(error)), class_(error_class), cause_(cause) {}
  [[nodiscard]] const pg::Error &error() const noexcept { return error_; }
  [[nodiscard]] domain::ErrorClass error_class() const noexcept { return class_; }
  [[nodiscard]] domain::Cause cause() const noexcept { return cause_; }

 private:
  pg::Error error_;
  domain::ErrorClass class_;
  domain::Cause cause_;
};

pg::Error to_error(const store::AttemptError &error) {
  std::array<char, 6> code{'X', 'X', '0', '0', '0', '\0'};
  std::copy_n(error.sqlstate.begin(), std::min<std::size_t>(5, error.sqlstate.size()), code.begin());
  return pg::Error{MAKE_SQLSTATE(code[0], code[1], code[2], code[3], code[4]), error.message, error.detail, error.hint};
}

store::AttemptError describe(const pg::Error &error) {
  return {error.sqlstate_text(), error.message(), error.detail(), error.hint(), error.context()};
}

/// A deferred constraint that fails belongs to no event, unless there is only one.
void check_constraints() {
  try {
    force_deferred_constraints();
  } catch (const pg::Error &error) {
    throw BatchAborted{error, domain::classify(error.sqlstate_text(), error.message()), domain::Cause::Error};
  }
}

bool is_conflict(const pg::Error &error) {
  return domain::classify(error.sqlstate_text(), error.message()) == domain::ErrorClass::Conflict;
}

domain::Uuid new_id() {
  const auto unix_us = GetCurrentTimestamp() + (POSTGRES_EPOCH_JDATE - UNIX_EPOCH_JDATE) * USECS_PER_DAY;
  return domain::uuid_v7(static_cast<std::uint64_t>(unix_us / 1000), pg::random_bits(), pg::random_bits());
}

}  // namespace

LaneTurn::LaneTurn(WorkerSlot &slot, const Claim &claim, const store::Subscription &subscription)
    : slot_(slot),
      claim_(claim),
      subscription_(subscription),
      lane_{subscription.id, claim.partition},
      handler_([&] {
        pg::Transaction transaction;
        Handler resolved = Handler::resolve(subscription);
        transaction.commit();
        return resolved;
      }()),
      chunk_memory_("pg_saga chunk"),
      parked_memory_("pg_saga parked"),
      started_us_(pg::monotonic_us()) {}

TurnEnd LaneTurn::run() {
  for (;;) {
    pg::check_for_interrupts();
    if (ConfigReloadPending) return end(true, false);
    const Step made = step();
    if (made == Step::Stop) return end(true, false);
    if (made == Step::Idle) return end(false, true);
    if (pg::monotonic_us() - started_us_ > kTurnUs || slot_.retire) return end(true, false);
  }
}

TurnEnd LaneTurn::end(bool more, bool read_all) const {
  TurnEnd result;
  result.more = more;
  result.read_all = read_all;
  result.not_before_us = not_before_us_;
  result.next_due = waits_.next_due.value_or(DT_NOEND);
  result.mode = claim_.mode;
  result.mode_left = claim_.mode_left;
  result.conflicts = claim_.conflicts;
  result.suspect_left = claim_.suspect_left;
  return result;
}

/// One batch of work, or the finding that there is none.
LaneTurn::Step LaneTurn::step() {
  prepare();
  if (!cursor_) return not_before_us_ > 0 ? Step::Stop : Step::Idle;  // moved; unsubscribed
  if (!due_.empty()) return run_due();
  const bool halted = subscription_.ordering == store::Ordering::Topic && waits_.any_held;
  if (halted || !have_chunk_) return Step::Idle;
  return run_fresh();
}

/// Reads, in a transaction of its own that writes nothing: the cursor, what is parked, the next chunk.
void LaneTurn::prepare() {
  const bool chunk_done = have_chunk_ && next_ == chunk_.events.size();
  if (have_chunk_ && !chunk_done && waits_known_ && !waits_.any && due_.empty()) return;
  pg::Transaction transaction;
  {
    pg::OwnerScope owner;
    pg::Spi spi;
    if (!cursor_) {
      cursor_ = store::newest_cursor(lane_);
      if (cursor_) store::enter_new_era(*cursor_, store::installation().era);
    }
    if (cursor_ && cursor_->generation != subscription_.generation) {
      // seek() has moved the lane, and the news of it is on its way.
      cursor_.reset();
      not_before_us_ = pg::monotonic_us() + kMovedUs;
    }
    if (!cursor_) return;
    waits_ = store::lane_waits(lane_);
    waits_known_ = true;
    due_.clear();
    if (waits_.any) {
      parked_memory_.reset();
      due_ = store::due_events(subscription_, lane_, kDueMax, parked_memory_.get());
    }
    const bool news = publishes_now(claim_) != read_at_;
    if (due_.empty() && (!have_chunk_ || chunk_done)) {
      have_chunk_ = false;
      if (news || !cursor_->window_done) {
        const std::uint64_t count = publishes_now(claim_);
        chunk_memory_.reset();
        chunk_ = store::read_lane(subscription_, lane_, *cursor_, chunk_memory_.get());
        next_ = 0;
        have_chunk_ = chunk_.scanned > 0;
        if (chunk_.completes_window && chunk_.up_to_date) read_at_ = count;
        // The rest of a window may be empty; the window is closed all the same.
        if (!chunk_.up_to_date || cursor_->era != store::installation().era) have_chunk_ = true;
      }
    }
  }
  transaction.commit();
}

// ------------------------------------------------------------------------------------------------- what to run

std::size_t LaneTurn::batch_limit() const {
  if (claim_.suspect_left > 0 || claim_.mode == LaneMode::Single) return 1;
  return static_cast<std::size_t>(pg::settings::batch_size);
}

std::vector<Item> LaneTurn::fresh_items() const {
  std::vector<Item> items;
  const std::size_t last = std::min(chunk_.events.size(), next_ + batch_limit());
  items.reserve(last - next_);
  for (std::size_t i = next_; i < last; ++i) {
    const store::LaneEvent &e = chunk_.events[i];
    Item item;
    item.ref = {e.id, e.slot};
    item.key = e.key;
    item.event = e.event;
    item.position = e.position;
    item.depth = e.depth;
    item.external_id = e.external_id;
    item.published_at = e.published_at;
    items.push_back(std::move(item));
  }
  return items;
}

LaneTurn::Step LaneTurn::run_fresh() {
  if (claim_.suspect_left > 0 && next_ < chunk_.events.size()) {
    mark_suspect();
    return Step::Worked;
  }
  return run_batch(fresh_items(), true) ? Step::Worked : (not_before_us_ > 0 ? Step::Stop : Step::Worked);
}

/// In suspect mode an event is parked and that is committed before it runs: if it takes the process with it, the
/// mark is what remains.
void LaneTurn::mark_suspect() {
  const store::LaneEvent &e = chunk_.events[next_];
  pg::Transaction transaction;
  {
    pg::OwnerScope owner;
    pg::Spi spi;
    store::ParkRequest request;
    request.ref = {e.id, e.slot};
    if (e.key) request.key = *e.key;
    request.waiting_for = e.deliver_at ? store::WaitingFor::Delay : store::WaitingFor::Replay;
    request.due_at = e.deliver_at.value_or(GetCurrentTimestamp());
    store::park(subscription_, lane_, request);
    ++next_;
    store::Cursor advanced = *cursor_;
    ++advanced.number;
    advanced.window = chunk_.window;
    advanced.last_position = e.position;
    advanced.window_done = chunk_.completes_window && next_ == chunk_.events.size();
    store::append_cursor(lane_, advanced);
    cursor_ = advanced;
    if (advanced.window_done) cursor_->previous = advanced.window;
  }
  transaction.commit();
  waits_.any = true;
  --claim_.suspect_left;
}

/// Parked events that are due, each followed by the queue of its key as long as it succeeds.
LaneTurn::Step LaneTurn::run_due() {
  std::vector<Item> items;
  const bool suspects = std::any_of(due_.begin(), due_.end(), [](const auto &p) { return p.crashes > 0; });
  const std::size_t limit = claim_.mode == LaneMode::Single || claim_.suspect_left > 0 || suspects ? 1 : kDueMax;
  {
    pg::Transaction transaction;
    {
      pg::OwnerScope owner;
      pg::Spi spi;
      const auto add = [&](const store::ParkedEvent &p, bool queued) {
        Item item;
        item.ref = p.ref;
        item.key = p.key;
        item.event = p.event.value_or(Datum{0});
        item.published_at = p.published_at;
        item.depth = p.depth;
        item.external_id = p.external_id;
        item.parked_id = p.parked_id;
        item.queued = queued;
        item.attempts = p.attempts;
        item.crashes = p.crashes;
        item.first_failed_at = p.first_failed_at;
        items.push_back(std::move(item));
      };
      for (const store::ParkedEvent &p : due_) {
        if (items.size() >= limit) break;
        const bool in_queue = p.key.has_value() && subscription_.ordering == store::Ordering::Key;
        if (in_queue && p.joins_key && store::join_queue(subscription_, lane_, p)) continue;
        add(p, in_queue);
        if (!in_queue || items.size() >= limit) continue;
        const int room = static_cast<int>(limit - items.size());
        for (const auto &follower :
             store::queue_of_key(subscription_, lane_, *p.key, p.parked_id, room, parked_memory_.get())) {
          add(follower, true);
        }
      }
      marked_ = limit == 1 && !items.empty() && (claim_.suspect_left > 0 || items[0].crashes > 0);
      if (marked_) {
        // Marked: the crash is counted before the event runs, and taken back when it ends otherwise.
        store::ParkedEvent marked;
        marked.parked_id = items[0].parked_id;
        marked.ref = items[0].ref;
        store::ParkRequest request;
        request.ref = items[0].ref;
        request.waiting_for = store::WaitingFor::Suspect;
        request.holds_key = holds_keys();
        request.due_at = GetCurrentTimestamp();
        request.attempts = items[0].attempts;
        request.crashes = items[0].crashes + 1;
        store::park_again(subscription_, lane_, marked, request);
      }
    }
    transaction.commit();
  }
  due_.clear();
  waits_known_ = false;
  if (items.empty()) return Step::Worked;
  return run_batch(std::move(items), false) ? Step::Worked : (not_before_us_ > 0 ? Step::Stop : Step::Worked);
}

// ------------------------------------------------------------------------------------------------- how to run

bool LaneTurn::run_batch(std::vector<Item> items, bool fresh) {
  batch_started_us_ = pg::monotonic_us();
  session_dirty_ = false;
  std::vector<Disposition> done;
  done.reserve(items.size());
  try {
    pg::Transaction transaction{subscription_.isolation};
    handler_.prepare();
    held_.clear();
    if (!fresh) keep_locked(items);
    if (fresh && waits_.any_held && subscription_.ordering == store::Ordering::Key) {
      std::vector<std::string> keys;
      for (const Item &item : items) {
        if (item.key) keys.push_back(*item.key);
      }
      pg::OwnerScope owner;
      pg::Spi spi;
      held_ = store::held_among(lane_, keys);
    }
    std::size_t failure = kNoFailure;
    const bool all_at_once = fresh && claim_.mode == LaneMode::Batch && batch_limit() > 1;
    if (all_at_once) failure = run_all_at_once(items, done);
    if (failure != kNoFailure || !all_at_once) run_one_by_one(items, failure, done);
    record(done, fresh);
    SAGA_FAULT_POINT("before_commit");
    transaction.commit();
    SAGA_FAULT_POINT("after_commit");
  } catch (const BatchAborted &aborted) {
    forget_position();
    if (aborted.cause() == domain::Cause::Interruption || aborted.error_class() == domain::ErrorClass::Interruption) {
      if (!fresh && items.size() == 1) unmark(items[0]);
      not_before_us_ = pg::monotonic_us() + 1'000'000;
      ereport(LOG, (errmsg("pg_saga: batch interrupted: %s", aborted.error().message().c_str())));
      return false;
    }
    if (items.size() > 1) {
      on_conflict(aborted.error(), items.size());
    } else if (aborted.error_class() == domain::ErrorClass::Conflict) {
      charge_conflict(items, fresh, aborted.error());
    } else {
      charge(items[0], fresh, aborted.error(), aborted.error().sqlstate_text().c_str());
    }
    return false;
  } catch (const pg::Error &error) {
    forget_position();
    if (!is_conflict(error) || items.empty()) throw;
    if (items.size() == 1) {
      charge_conflict(items, fresh, error);
    } else {
      on_conflict(error, items.size());
    }
    return false;
  }
  claim_.conflicts = 0;
  leave_mode(done.size());
  if (session_dirty_) reset_session();
  return true;
}

/// The optimistic way: all events under one subtransaction. Answers the index of the first that failed, with its
/// disposition in done; then everything is rolled back to the start of the batch.
std::size_t LaneTurn::run_all_at_once(const std::vector<Item> &items, std::vector<Disposition> &done) {
  pg::Subtransaction subtransaction;
  for (std::size_t i = 0; i < items.size() && !batch_is_full(i); ++i) {
    if (pass_over(items[i], done)) continue;
    Disposition d = attempt(items[i]);
    if (d.kind == Disposition::Kind::Failed) {
      done.clear();
      done.push_back(std::move(d));
      return i;
    }
    done.push_back(std::move(d));
  }
  check_constraints();
  subtransaction.commit();
  return kNoFailure;
}

/// A subtransaction per event. A failure that is known already is not run again: its effects were rolled back as
/// those of any failed attempt are.
void LaneTurn::run_one_by_one(const std::vector<Item> &items, std::size_t known_failure,
                              std::vector<Disposition> &done) {
  std::optional<Disposition> known;
  if (known_failure != kNoFailure) known = std::move(done.front());
  done.clear();
  std::vector<std::string> stopped;
  for (std::size_t i = 0; i < items.size() && !batch_is_full(i); ++i) {
    const Item &item = items[i];
    if (pg::subtransaction_count() >= kSubtransactionsMax) break;
    if (item.parked_id != 0 && item.queued && std::find(stopped.begin(), stopped.end(), *item.key) != stopped.end()) {
      continue;
    }
    if (pass_over(item, done)) continue;
    if (i == known_failure) {
      known->item = &item;
      done.push_back(std::move(*known));
    } else {
      pg::Subtransaction subtransaction;
      Disposition d = attempt(item);
      if (d.kind == Disposition::Kind::Delivered) subtransaction.commit();
      done.push_back(std::move(d));
    }
    const Disposition &last = done.back();
    if (last.kind != Disposition::Kind::Failed || !holds_keys()) continue;
    const bool again = last.decision.outcome == domain::Outcome::Retry ||
                       last.decision.outcome == domain::Outcome::Snoozed ||
                       (last.decision.outcome == domain::Outcome::Dead && subscription_.halt_on_exhausted);
    if (!again) continue;
    if (subscription_.ordering == store::Ordering::Topic) break;
    if (!item.key) continue;
    held_.push_back(*item.key);
    stopped.push_back(*item.key);
  }
  check_constraints();
}

/// Events that do not run now: not due yet, or behind a held key.
bool LaneTurn::pass_over(const Item &item, std::vector<Disposition> &done) {
  Disposition d;
  d.item = &item;
  if (item.parked_id != 0) {
    if (item.event != 0) return false;
    d.kind = Disposition::Kind::Missing;
    done.push_back(std::move(d));
    return true;
  }
  const store::LaneEvent &e = chunk_.events[next_ + done.size()];
  if (e.deliver_at && *e.deliver_at > GetCurrentTimestamp()) {
    d.kind = Disposition::Kind::Delayed;
    d.due_at = *e.deliver_at;
  } else if (item.key && std::find(held_.begin(), held_.end(), *item.key) != held_.end()) {
    d.kind = Disposition::Kind::Behind;
  } else {
    return false;
  }
  done.push_back(std::move(d));
  return true;
}

bool LaneTurn::batch_is_full(std::size_t done) const {
  return done > 0 &&
         (session_dirty_ || pg::monotonic_us() - batch_started_us_ >= std::int64_t{pg::settings::batch_time_ms} * 1000);
}

Disposition LaneTurn::attempt(const Item &item) {
  if (claim_.hard_stopped && *claim_.hard_stopped == item.ref.id) {
    claim_.hard_stopped.reset();
    HandlerResult stopped;
    stopped.cause = domain::Cause::TimeLimit;
    stopped.started_at = GetCurrentTimestamp();
    stopped.processing_us = subscription_.timeout_us;
    stopped.error = {"57014", "handler was terminated: it ran past its hard time limit", {}, {}, {}};
    return judge(item, std::move(stopped));
  }
  if (item.crashes >= pg::settings::crash_limit) {
    HandlerResult crashed;
    crashed.cause = domain::Cause::Crash;
    crashed.started_at = GetCurrentTimestamp();
    crashed.error = {"58000", "the process was lost each time this event ran alone", {}, {}, {}};
    return judge(item, std::move(crashed));
  }
  RunningEvent running{subscription_.id, claim_.partition,         item.ref.id, item.position, item.attempts + 1,
                       item.depth,       subscription_.timeout_us, item.event,  std::nullopt};
  if (item.external_id) running.external_id = *item.external_id;
  HandlerResult result = handler_.call(slot_, running);
  session_dirty_ = session_dirty_ || session_is_dirty();
  return judge(item, std::move(result));
}

Disposition LaneTurn::judge(const Item &item, HandlerResult run) {
  Disposition d;
  d.item = &item;
  d.run = std::move(run);
  if (d.run.ok) return d;
  d.kind = Disposition::Kind::Failed;
  domain::Failure failure;
  failure.cause = d.run.cause;
  failure.sqlstate = d.run.error.sqlstate;
  failure.message = d.run.error.message;
  failure.snooze = d.run.snooze;
  domain::EventState state;
  state.attempts = static_cast<std::uint16_t>(item.attempts);
  state.conflicts = claim_.conflicts;
  state.crashes = static_cast<std::uint16_t>(item.crashes > 0 ? item.crashes - 1 : 0);
  state.age = domain::Millis{(GetCurrentTimestamp() - item.published_at) / 1000};
  d.decision = domain::decide(failure, state, subscription_.policy, pg::random_fraction());
  const auto error_class = domain::classify(failure.sqlstate, failure.message);
  if (d.decision.outcome == domain::Outcome::Conflict || d.decision.outcome == domain::Outcome::Interrupted ||
      (error_class == domain::ErrorClass::Conflict && d.run.cause == domain::Cause::Error)) {
    throw BatchAborted{to_error(d.run.error), error_class, d.run.cause};
  }
  d.due_at = GetCurrentTimestamp() + d.decision.delay.count() * 1000;
  return d;
}

// ------------------------------------------------------------------------------------------------- conflicts

/// What the rolled-back batch had advanced is read again.
void LaneTurn::forget_position() {
  cursor_.reset();
  have_chunk_ = false;
  read_at_ = 0;
  waits_known_ = false;
}

/// Parked events that an operator took away meanwhile do not run.
void LaneTurn::keep_locked(std::vector<Item> &items) const {
  std::vector<std::int64_t> ids;
  for (const Item &item : items) ids.push_back(item.parked_id);
  pg::OwnerScope owner;
  pg::Spi spi;
  const std::vector<std::int64_t> locked = store::lock_rows(lane_, ids);
  std::erase_if(
      items, [&](const Item &item) { return std::find(locked.begin(), locked.end(), item.parked_id) == locked.end(); });
}

/// Past its limit a queue takes no more: the lane stops, loudly, until the key is free again.
void LaneTurn::refuse_endless_queues(const std::vector<Disposition> &done) const {
  std::vector<std::string_view> checked;
  for (const Disposition &d : done) {
    if (d.kind != Disposition::Kind::Behind) continue;
    const std::string_view key = *d.item->key;
    if (std::find(checked.begin(), checked.end(), key) != checked.end()) continue;
    checked.push_back(key);
    const int limit = pg::settings::max_parked_per_key;
    if (store::queue_length(lane_, key, limit) < limit) continue;
    throw pg::Error{ERRCODE_CONFIGURATION_LIMIT_EXCEEDED,
                    "more than " + std::to_string(limit) + " events wait behind key " + pg::quoted(key),
                    {},
                    "See saga.held_keys for the command that frees it, or raise saga.max_parked_per_key."};
  }
}

/// The conflict belongs to no event yet: the same events run again, each alone in its transaction.
void LaneTurn::on_conflict(const pg::Error &error, std::size_t events) {
  claim_.mode = LaneMode::Single;
  claim_.mode_left = static_cast<int>(events);
  if (is_conflict(error)) {
    const std::string code(domain::conflict_code(error.sqlstate_text(), error.message()));
    ereport(LOG, (errcode(error.code()), errmsg("Transaction conflict (%s) detected", code.c_str()),
                  errdetail_log("A batch of %zu events of consumer group \"%s\" runs again, one event per transaction.",
                                events, subscription_.consumer_group.c_str())));
  }
}

/// The event was alone in its transaction: it waits 100, 200, 400 ms, then the conflict is a failed attempt.
void LaneTurn::charge_conflict(const std::vector<Item> &items, bool fresh, const pg::Error &error) {
  const std::string code(domain::conflict_code(error.sqlstate_text(), error.message()));
  ereport(LOG, (errcode(error.code()), errmsg("Transaction conflict (%s) detected", code.c_str()),
                errdetail_log("Event %s of consumer group \"%s\", conflict %d.",
                              domain::format_uuid(items[0].ref.id).c_str(), subscription_.consumer_group.c_str(),
                              claim_.conflicts + 1)));
  claim_.mode = LaneMode::Single;
  claim_.mode_left = std::max(claim_.mode_left, 1);
  const auto delay = domain::conflict_delay(static_cast<std::uint16_t>(claim_.conflicts + 1));
  if (delay) {
    ++claim_.conflicts;
    not_before_us_ = pg::monotonic_us() + delay->count() * 1000;
    if (!fresh) unmark(items[0]);
    return;
  }
  claim_.conflicts = 0;
  charge(items[0], fresh, error, "40000");  // transaction_rollback: no conflict any more, a failure like others
}

/// A failed attempt of an event that was alone in its transaction, recorded in a transaction of its own.
void LaneTurn::charge(const Item &item, bool fresh, const pg::Error &error, const char *sqlstate) {
  pg::Transaction transaction;
  {
    pg::OwnerScope owner;
    pg::Spi spi;
    cursor_ = store::newest_cursor(lane_);  // the last one was rolled back
  }
  Disposition d;
  d.item = &item;
  d.kind = Disposition::Kind::Failed;
  d.run.started_at = GetCurrentTimestamp();
  d.run.error = describe(error);
  domain::Failure failure;
  failure.sqlstate = sqlstate;
  domain::EventState state;
  state.attempts = static_cast<std::uint16_t>(item.attempts);
  state.age = domain::Millis{(GetCurrentTimestamp() - item.published_at) / 1000};
  d.decision = domain::decide(failure, state, subscription_.policy, pg::random_fraction());
  d.due_at = GetCurrentTimestamp() + d.decision.delay.count() * 1000;
  std::vector<Disposition> done;
  done.push_back(std::move(d));
  record(done, fresh);
  transaction.commit();
}

/// The run ended without the loss of its process: the crash that was counted before it is taken back.
void LaneTurn::unmark(const Item &item) {
  if (!marked_) return;
  marked_ = false;
  pg::Transaction transaction;
  {
    pg::OwnerScope owner;
    pg::Spi spi;
    store::ParkedEvent parked;
    parked.parked_id = item.parked_id;
    parked.ref = item.ref;
    store::ParkRequest request;
    request.ref = item.ref;
    request.waiting_for = store::WaitingFor::Suspect;
    request.holds_key = holds_keys();
    request.due_at = GetCurrentTimestamp();
    request.attempts = item.attempts;
    request.crashes = item.crashes;
    store::park_again(subscription_, lane_, parked, request);
  }
  transaction.commit();
}

void LaneTurn::leave_mode(std::size_t events) {
  if (claim_.mode == LaneMode::Batch) return;
  claim_.mode_left -= static_cast<int>(events);
  if (claim_.mode_left <= 0) claim_.mode = LaneMode::Batch;
}

// ------------------------------------------------------------------------------------------------- what to record

void LaneTurn::record(const std::vector<Disposition> &done, bool fresh) {
  pg::OwnerScope owner;
  pg::Spi spi;
  bool failed = false;
  refuse_endless_queues(done);
  for (const Disposition &d : done) {
    switch (d.kind) {
      case Disposition::Kind::Delivered:
        if (!fresh) record_delivered_parked(d);
        break;
      case Disposition::Kind::Failed:
        failed = true;
        record_failed(d);
        break;
      case Disposition::Kind::Behind:
        park(d, store::WaitingFor::Key, GetCurrentTimestamp() + USECS_PER_HOUR, false);
        break;
      case Disposition::Kind::Delayed:
        park(d, store::WaitingFor::Delay, d.due_at, false);
        break;
      case Disposition::Kind::Missing:
        record_final(d);
        break;
    }
    if (d.kind != Disposition::Kind::Delivered) waits_known_ = false;
  }
  if (fresh) {
    record_fresh(done);
    if (failed && claim_.mode == LaneMode::Batch) {
      claim_.mode = LaneMode::PerEvent;
      claim_.mode_left = pg::settings::batch_size;
    }
  } else {
    release_queues(done);
  }
}

/// Progress and tracking of the fast path: one row each.
void LaneTurn::record_fresh(const std::vector<Disposition> &done) {
  domain::DeliveryPack pack;
  StringInfoData results;
  bool any_result = false;
  for (const Disposition &d : done) {
    if (d.kind != Disposition::Kind::Delivered) continue;
    pack.add(
        {d.item->position, static_cast<std::uint32_t>(std::clamp<std::int64_t>(d.run.processing_us, 0, UINT32_MAX))});
    if (!d.run.result) continue;
    pg::call([&] {
      if (!any_result) initStringInfo(&results);
      Jsonb *value = DatumGetJsonbP(*d.run.result);
      appendStringInfo(&results, "%s\"%lld\":", any_result ? "," : "{", static_cast<long long>(d.item->position));
      (void)JsonbToCString(&results, &value->root, VARSIZE(value));
    });
    any_result = true;
  }
  std::optional<Datum> packed_results;
  if (any_result) {
    packed_results = pg::call([&] {
      appendStringInfoChar(&results, '}');
      return DirectFunctionCall1(jsonb_in, CStringGetDatum(results.data));
    });
  }
  const std::size_t consumed = next_ + done.size();
  store::Cursor advanced = *cursor_;
  ++advanced.number;
  advanced.window = chunk_.window;
  advanced.window_done = chunk_.completes_window && consumed >= chunk_.events.size();
  if (!done.empty()) advanced.last_position = done.back().item->position;
  if (consumed >= chunk_.events.size()) advanced.last_position = std::max(advanced.last_position, chunk_.last_scanned);
  advanced.delivered += pack.count();
  store::append_cursor(lane_, advanced);
  if (pack.count() > 0) store::append_delivery(subscription_, lane_, advanced, pack, packed_results);
  cursor_ = advanced;
  if (advanced.window_done) {
    cursor_->previous = advanced.window;
    cursor_->not_before.reset();
    store::enter_new_era(*cursor_, store::installation().era);
  }
  next_ = consumed;
  if (next_ >= chunk_.events.size()) have_chunk_ = false;
}

void LaneTurn::record_delivered_parked(const Disposition &d) {
  store::ParkedEvent parked;
  parked.parked_id = d.item->parked_id;
  parked.ref = d.item->ref;
  store::unpark(subscription_, lane_, parked);
  store::OutcomeRow row;
  row.event = d.item->ref;
  row.status = "PROCESSED";
  row.attempts = d.item->attempts;
  row.processing_us = d.run.processing_us;
  row.result = d.run.result;
  store::append_outcome(subscription_, row);
}

void LaneTurn::record_failed(const Disposition &d) {
  using domain::Outcome;
  const bool counted = d.decision.spends_attempt || d.decision.outcome == Outcome::Invalid ||
                       d.decision.outcome == Outcome::Dead || d.decision.outcome == Outcome::Cancelled;
  if (counted) {
    store::AttemptRow row;
    row.event = d.item->ref;
    row.attempt = d.item->attempts + 1;
    row.outcome = domain::name(d.decision.outcome);
    row.started_at = d.run.started_at;
    row.processing_us = d.run.processing_us;
    row.error = &d.run.error;
    if (d.decision.outcome == Outcome::Retry) row.retry_at = d.due_at;
    store::append_attempt(subscription_, row);
  }
  if (d.decision.outcome == Outcome::Retry) {
    park(d, store::WaitingFor::Retry, d.due_at, holds_keys());
  } else if (d.decision.outcome == Outcome::Snoozed) {
    park(d, store::WaitingFor::Snooze, d.due_at, holds_keys());
  } else {
    record_final(d);
  }
}

/// Dead, invalid, skipped, cancelled: the outcome is recorded and the key goes free, unless it is to halt.
void LaneTurn::record_final(const Disposition &d) {
  using domain::Outcome;
  const bool missing = d.kind == Disposition::Kind::Missing;
  const bool dead = missing || d.decision.outcome == Outcome::Dead || d.decision.outcome == Outcome::Invalid;
  store::OutcomeRow row;
  row.event = d.item->ref;
  row.attempts = d.item->attempts + (d.decision.spends_attempt ? 1 : 0);
  row.processing_us = d.run.processing_us;
  row.error = &d.run.error;
  row.reason = missing ? "missing" : domain::name(d.decision.reason);
  row.status = "FAILED";
  if (d.decision.outcome == Outcome::Invalid) row.status = "INVALID";
  if (d.decision.outcome == Outcome::Skipped) row.status = "SKIPPED";
  if (d.decision.outcome == Outcome::Cancelled) row.status = "CANCELLED";
  if (dead) {
    store::append_dead_letter(subscription_,
                              {d.item->ref, *row.reason, row.error, row.attempts, d.item->first_failed_at}, new_id());
  }
  store::append_outcome(subscription_, row);
  if (d.decision.outcome == Outcome::Dead && subscription_.halt_on_exhausted && holds_keys()) {
    park(d, store::WaitingFor::Halt, GetCurrentTimestamp() + USECS_PER_DAY, true);
  } else if (d.item->parked_id != 0) {
    store::ParkedEvent parked;
    parked.parked_id = d.item->parked_id;
    parked.ref = d.item->ref;
    store::unpark(subscription_, lane_, parked);
  }
}

void LaneTurn::park(const Disposition &d, store::WaitingFor waiting_for, TimestampTz due_at, bool holds) {
  store::ParkRequest request;
  request.ref = d.item->ref;
  if (d.item->key) request.key = *d.item->key;
  request.waiting_for = waiting_for;
  request.holds_key = holds;
  request.due_at = due_at;
  request.attempts = d.item->attempts + (d.decision.spends_attempt ? 1 : 0);
  request.crashes = 0;
  if (d.kind == Disposition::Kind::Failed && waiting_for != store::WaitingFor::Snooze) request.error = &d.run.error;
  if (d.item->parked_id == 0) {
    store::park(subscription_, lane_, request);
    return;
  }
  store::ParkedEvent parked;
  parked.parked_id = d.item->parked_id;
  parked.ref = d.item->ref;
  store::park_again(subscription_, lane_, parked, request);
}

/// After the queue of a key has moved on, its new head is due.
void LaneTurn::release_queues(const std::vector<Disposition> &done) {
  for (auto d = done.rbegin(); d != done.rend(); ++d) {
    if (!d->item->queued) continue;
    const bool last_of_key = std::none_of(done.rbegin(), d, [&](const Disposition &later) {
      return later.item->queued && *later.item->key == *d->item->key;
    });
    if (last_of_key) store::release_queue(subscription_, lane_, *d->item->key);
  }
}

}  // namespace saga::worker
