// What the operators' functions share: who may operate, and the audit row that each leaves.
#pragma once

#include "api/function.hpp"
#include "store/audit.hpp"
#include "store/subscriptions.hpp"

namespace saga::api {

/// Whether the role may operate on the topic, or is a member of the role that the group runs as.
[[nodiscard]] bool may_operate(const store::Topic &topic, const store::Subscription *subscription, Oid role);

/// Throws 42501 with the way out.
void require_operator(const store::Topic &topic, const store::Subscription *subscription, Oid role);

/// Who asks and why.
struct Operator {
  Oid role = GetUserId();
  std::string name = current_user_name();
  std::optional<std::string> reason;
};

/// {"member": "value"} as text.
[[nodiscard]] std::string json_member(std::string_view member, std::string_view value);

}  // namespace saga::api
