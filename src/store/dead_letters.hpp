// Dead letters: events that were given up, each with its own copy, so that they outlive the log's retention
// and can still be replayed. A settled one was replayed or discarded.
#pragma once

#include "store/parked.hpp"

namespace saga::store {

struct DeadLetterRow {
  EventRef event;
  std::string_view reason;
  const AttemptError *error = nullptr;
  int attempts = 0;
  std::optional<TimestampTz> first_failed_at;
};

/// Copies the event out of the log (or what is left of it) and returns the id of the dead letter.
domain::Uuid append_dead_letter(const Subscription &subscription, const DeadLetterRow &row, const domain::Uuid &id);

}  // namespace saga::store
