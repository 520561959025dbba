#include "store/audit.hpp"

namespace saga::store {

namespace {
constinit pg::Statement kAppend{
    "INSERT INTO saga.audit_v1 (actor, action, subject, reason, before, after)"
    " VALUES ($1, $2, $3, $4, $5::jsonb, $6::jsonb)"};
}

void append_audit(std::string_view actor, const AuditRow &row) {
  pg::run(kAppend, {pg::param(actor), pg::param(row.action), pg::param(row.subject), pg::param_text(row.reason),
                    pg::param_text(row.before), pg::param_text(row.after)});
}

}  // namespace saga::store
