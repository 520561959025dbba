// Which batch of the fast path delivered an event. Batches are packed, one row each; "delivered at or before batch n"
// is monotone in n within one generation of a lane, so the batch is found by bisection over their numbers, and the
// next event of a scan is mostly in the batch that is at hand.
#pragma once

#include "domain/delivery_pack.hpp"
#include "domain/snapshot.hpp"
#include "pg/memory.hpp"
#include "pg/stable_read.hpp"
#include "store/progress.hpp"

namespace saga::store {

/// An event as the order of its lane sees it.
struct LanePlace {
  Lane lane;
  int era = 1;
  domain::Xid xid = 0;
  domain::Position position = 0;
};

struct DeliveryFound {
  int generation = 1;
  std::int64_t number = 0;
  TimestampTz finished_at = 0;
  std::uint32_t processing_us = 0;
  std::optional<Datum> result;  // jsonb, in the current memory
};

/// The newest delivery of an event on the fast path; nullopt: filtered, parked, or not reached. Reads under the active
/// snapshot. Throws 42501 when the caller has no right on the topic of the subscription.
std::optional<DeliveryFound> find_delivery(const LanePlace &place);

}  // namespace saga::store
