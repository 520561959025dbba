// Ids and keys that publishers gave: a repeat returns the first id, a repeat that says something else is an error.
#pragma once

#include "store/topics.hpp"

namespace saga::store {

struct GivenId {
  enum class Kind : std::uint8_t { EventId, Key };
  Kind kind = Kind::EventId;  // an event id is unique over all topics, an idempotency key in its topic
  std::string given;          // as the caller wrote it
  domain::Uuid event_id;
  domain::Uuid fingerprint;  // of topic, key, type and payload
};

/// False: the same event was published before under this id. Waits for a concurrent publisher of the id to end.
/// Throws SG022 when the id was used for another event. publisher is the caller, taken before the OwnerScope.
bool remember_id(const Topic &topic, Oid publisher, const GivenId &id);

}  // namespace saga::store
