// The cursor of every lane. Appended, never updated: a cursor row that is updated per batch turns into a chain
// of dead versions under a pinned horizon. The unique (lane, number) row is the fence: of two workers that
// believe to own a lane, one fails to commit.
#pragma once

#include "domain/snapshot.hpp"
#include "store/config.hpp"

namespace saga::store {

struct Lane {
  int subscription_id = 0;
  std::int16_t partition = 0;  // -1: all partitions
};

/// Beyond every transaction: a snapshot with this xmin and xmax sees all of an era that is over.
inline constexpr domain::Xid kEndOfEra = 9223372036854775807ULL;

struct Cursor {
  std::int64_t number = 0;
  int era = 1;
  int generation = 1;
  bool window_done = true;
  domain::Snapshot previous = domain::Snapshot::none();
  domain::Snapshot window = domain::Snapshot::none();
  domain::Position last_position = 0;     // inside the window
  std::optional<TimestampTz> not_before;  // events published earlier are passed over (start_from a time)
  std::int64_t delivered = 0;             // events so far, over all generations
};

/// The newest cursor, ready for the next window when its own is done; nullopt when the lane was never set up.
std::optional<Cursor> newest_cursor(const Lane &lane);

/// A cursor that has read an era which is over starts with nothing seen of the next one.
void enter_new_era(Cursor &cursor, int era);

/// Appends cursor, whose number must be the newest one plus 1. Throws 23505 when another worker did.
void append_cursor(const Lane &lane, const Cursor &cursor);

/// The first tick after which transaction xid cannot be running any more, of this era; nullopt: none yet.
std::optional<domain::Snapshot> tick_after(int era, domain::Xid xid);

/// The last tick that a scan in the order of transactions has covered: after < its xmax <= up_to.
std::optional<domain::Snapshot> last_tick(int era, domain::Xid after, domain::Xid up_to);

/// The last tick taken at or before a time.
std::optional<domain::Snapshot> tick_before(int era, TimestampTz time);

/// Writes a tick with the current snapshot, unless nothing moved since the last one.
void append_tick(int era);

}  // namespace saga::store
