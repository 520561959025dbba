// Reads what a lane has to deliver, in the order that is promised: windows of commit order, positions inside
// a window. A window is what one snapshot sees and the previous one did not. Its cost follows what is new: rows
// from the previous snapshot's xmax on, plus the transactions that were running then.
#pragma once

#include "pg/memory.hpp"
#include "store/progress.hpp"
#include "store/subscriptions.hpp"

namespace saga::store {

struct LaneEvent {
  domain::Position position = 0;
  domain::Xid xid = 0;
  domain::Uuid id;
  std::uint16_t slot = 0;
  std::optional<std::string> key;
  std::optional<TimestampTz> deliver_at;
  TimestampTz published_at = 0;
  std::int16_t depth = 0;
  std::optional<std::string> external_id;
  Datum event = 0;  // saga.event, in the chunk's memory
};

/// A run of a lane's events in delivery order, kept over several batches: the rows are immutable and the window
/// is closed, so no commit changes them.
struct Chunk {
  domain::Snapshot window = domain::Snapshot::none();
  bool completes_window = false;
  bool up_to_date = false;            // the window ends now, not at an earlier tick
  domain::Position last_scanned = 0;  // position of the last row read, where rows come in that order
  std::size_t scanned = 0;            // rows read, those that were passed over included
  std::vector<LaneEvent> events;
};

/// Events at most in one chunk.
inline constexpr int kChunkEvents = 2000;

/// The next events after cursor. Their composite values are allocated in memory. Runs as the extension's owner,
/// inside a transaction with an active snapshot.
Chunk read_lane(const Subscription &subscription, const Lane &lane, const Cursor &cursor, MemoryContext memory);

}  // namespace saga::store
