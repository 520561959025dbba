// Tracking rows: packed batches of the fast path, single outcomes of events that left it, failed attempts.
// All appended, to the current segment of the topic, in the transaction of the effects that they record.
#pragma once

#include "domain/delivery_pack.hpp"
#include "domain/outcome.hpp"
#include "store/progress.hpp"
#include "store/subscriptions.hpp"

namespace saga::store {

/// What an attempt that did not succeed left behind.
struct AttemptError {
  std::string sqlstate;
  std::string message;
  std::string detail;
  std::string hint;
  std::string context;
};

struct EventRef {
  domain::Uuid id;
  std::uint16_t slot = 0;
};

/// One row per batch. results: jsonb object position -> result, or none.
void append_delivery(const Subscription &subscription, const Lane &lane, const Cursor &cursor,
                     const domain::DeliveryPack &pack, std::optional<Datum> results);

struct OutcomeRow {
  EventRef event;
  std::string_view status;  // PROCESSED, FAILED, INVALID, SKIPPED, CANCELLED
  int attempts = 0;         // failed ones
  std::optional<std::int64_t> processing_us;
  const AttemptError *error = nullptr;
  std::optional<std::string_view> reason;
  std::optional<Datum> result;  // jsonb
};

void append_outcome(const Subscription &subscription, const OutcomeRow &row);

struct AttemptRow {
  EventRef event;
  int attempt = 1;
  std::string_view outcome;
  TimestampTz started_at = 0;
  std::int64_t processing_us = 0;
  const AttemptError *error = nullptr;
  std::optional<TimestampTz> retry_at;
};

void append_attempt(const Subscription &subscription, const AttemptRow &row);

}  // namespace saga::store
