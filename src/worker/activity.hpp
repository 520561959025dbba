// What the handler workers of this database do now, and stopping one event that runs. Reads shared memory only.
#pragma once

#include "worker/shared_state.hpp"

namespace saga::worker {

struct Activity {
  pid_t pid = 0;
  Oid role = InvalidOid;
  WorkerState state = WorkerState::Free;
  bool running = false;  // a handler; the fields below are of its event
  int subscription_id = 0;
  int topic_id = 0;  // 0: the subscription is gone
  std::int16_t partition = 0;
  domain::Uuid event_id;
  int attempt = 0;
  TimestampTz started_at = 0;
};

/// Every worker of this database. Empty when the library was not preloaded.
[[nodiscard]] std::vector<Activity> activity();

/// Stops the handler of this event in the name of the operator. False: it is not running.
bool stop_running(int subscription_id, const domain::Uuid &event_id) noexcept;

}  // namespace saga::worker
