// How functions find the event that a caller names, as far as the caller may see it.
#pragma once

#include "store/operations.hpp"

namespace saga::api {

struct ReadableEvent {
  domain::Uuid id;
  store::KnownEvent known;
};

/// Throws SG012 when there is no such event or the caller has no right on its topic.
ReadableEvent readable_event(const std::string &given);

}  // namespace saga::api
