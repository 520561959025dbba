// Which functions may be subscribed, and as which roles they may run. Looked up as the current user: whoever
// subscribes a handler finds it through the own search path and must be allowed to execute it.
#pragma once

#include "store/subscriptions.hpp"

namespace saga::store {

struct HandlerFunction {
  Oid oid = InvalidOid;
  std::string name;       // of the function alone
  std::string signature;  // as stored: schema.name(saga.event), quoted where needed
  std::string owner_name;
  Oid owner = InvalidOid;
};

/// handler: 'f', 's.f' or 's.f(saga.event)'. Throws SG023 with the way out when there is no such function or it is
/// none that can be a handler.
HandlerFunction look_up_handler(const std::string &handler);

struct Role {
  Oid oid = InvalidOid;
  std::string name;
};

/// Throws 42704.
Role role_by_name(const std::string &name);
Role current_role();

/// The role that a subscription shall run as. Throws unless the current user may become it and it can log in.
Role require_run_as(const std::optional<std::string> &name);

/// Throws 42501 unless both the current user and the role may execute the function, and SG023 or SG020 where a
/// superuser would run what is not a superuser's.
void require_runnable(const HandlerFunction &function, const Role &run_as);

struct ConfirmedHandler {
  std::string owner_name;
  Oid run_as = InvalidOid;
};

/// Whether a subscription can go on: its function is there and its role may run it. Where the function or the role is
/// not the one that was subscribed, only who may become the role can confirm it. Throws otherwise.
ConfirmedHandler confirm_handler(const Subscription &subscription);

}  // namespace saga::store
