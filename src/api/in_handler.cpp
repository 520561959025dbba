// What a handler may call about its own event: current_event, snooze, reject, skip.
#include "api/function.hpp"
#include "store/current_event.hpp"
#include "worker/handler.hpp"

namespace saga::api {

namespace {

void require_handler(const char *function) {
  if (store::current_event() != nullptr) return;
  throw pg::Error{pg::kNotInHandler,
                  std::string(function) + "() was called outside a handler",
                  {},
                  "Call it in a function that was given to saga.subscribe()."};
}

}  // namespace

SAGA_FUNCTION(saga_current_event) {
  const store::CurrentEvent *current = store::current_event();
  if (current == nullptr) return null_result(fcinfo);
  return current->event;
}

SAGA_FUNCTION(saga_snooze) {
  const Args args{fcinfo};
  require_handler("snooze");
  const std::int64_t micros = pg::interval_micros(args.interval(0, "delay"));
  constexpr std::int64_t kYear = 365LL * 86'400'000'000LL;
  if (micros <= 0 || micros > 10 * kYear) {
    throw pg::Error{
        pg::kInvalidOption, "snooze needs a delay between 0 and 10 years", {}, "Pass for instance '5 min'."};
  }
  worker::request_snooze(micros);
  throw pg::Error{pg::kSnoozed, "snoozed"};
}

SAGA_FUNCTION(saga_reject) {
  const Args args{fcinfo};
  require_handler("reject");
  throw pg::Error{pg::kRejected, args.text(0, "reason")};
}

SAGA_FUNCTION(saga_skip) {
  const Args args{fcinfo};
  require_handler("skip");
  throw pg::Error{pg::kSkipped, args.text(0, "reason")};
}

}  // namespace saga::api
