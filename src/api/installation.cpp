// What concerns the installation as a whole: pause_all, resume_all, remove_all_data, run_maintenance.
#include "store/installation.hpp"
#include "api/options.hpp"
#include "pg/identity.hpp"
#include "store/audit.hpp"
#include "store/maintenance.hpp"
#include "store/topics.hpp"
#include "worker/wakeup.hpp"

namespace saga::api {

namespace {

void require_extension_owner(const char *what) {
  const Oid user = GetUserId();
  const Oid owner = pg::extension_owner();
  if (pg::call([&] { return superuser_arg(user) || has_privs_of_role(user, owner); })) return;
  throw pg::Error{ERRCODE_INSUFFICIENT_PRIVILEGE,
                  std::string("permission denied to ") + what,
                  "Only superusers and the owner of the extension may do that.",
                  {}};
}

std::string database_name() {
  const char *name = pg::call([] { return get_database_name(MyDatabaseId); });
  return name == nullptr ? std::string() : std::string(name);
}

/// Commits between the steps, so that no lock is held longer than its step.
void require_own_transactions(FunctionCallInfo fcinfo) {
  const auto *context = reinterpret_cast<CallContext *>(fcinfo->context);
  if (context != nullptr && IsA(context, CallContext) && !context->atomic) return;
  throw pg::Error{ERRCODE_ACTIVE_SQL_TRANSACTION, "run_maintenance cannot run inside a transaction block",
                  "It commits after each of its steps.", "CALL saga.run_maintenance() outside of BEGIN ... COMMIT."};
}

}  // namespace

SAGA_FUNCTION(saga_pause_all) {
  const Args args{fcinfo};
  begin_change("pause the installation");
  const std::string actor = current_user_name();
  const auto reason = args.optional_text(0);
  pg::OwnerScope owner;
  pg::Spi spi;
  const auto before = store::installation_row();
  store::pause_installation(reason.value_or("paused by " + actor));
  store::append_audit(actor, {"pause_all", "*", reason, before, store::installation_row()});
  worker::mark_config_changed();
  return Datum{0};
}

SAGA_FUNCTION(saga_resume_all) {
  const Args args{fcinfo};
  begin_change("resume the installation");
  const std::string actor = current_user_name();
  pg::OwnerScope owner;
  pg::Spi spi;
  const auto before = store::installation_row();
  store::resume_installation();
  store::append_audit(actor, {"resume_all", "*", args.optional_text(0), before, store::installation_row()});
  worker::mark_config_changed();
  worker::mark_everything();
  return Datum{0};
}

/// Why nothing runs in this database; NULL where it does.
SAGA_FUNCTION(saga_paused_reason) {
  const store::Installation &installation = store::installation();
  if (installation.runnable) return null_result(fcinfo);
  return pg::text_datum(installation.paused_reason);
}

SAGA_FUNCTION(saga_remove_all_data) {
  const Args args{fcinfo};
  begin_change("remove all data");
  require_extension_owner("remove all data");
  const std::string confirm = args.text(0, "confirm");
  const std::string database = database_name();
  if (confirm != database) {
    invalid_option(
        "confirm is " + pg::quoted(confirm) + ", but this is database " + pg::quoted(database),
        "Pass the name of this database: every topic, event, subscription and dead letter in it is removed.");
  }
  pg::OwnerScope owner;
  pg::Spi spi;
  store::remove_all_data();
  worker::mark_config_changed();
  return Datum{0};
}

SAGA_FUNCTION(saga_run_maintenance) {
  begin_change("run maintenance");
  require_own_transactions(fcinfo);
  pg::Spi spi{pg::Spi::Atomicity::NonAtomic};
  for (const store::MaintenanceStep step : store::kMaintenanceSteps) {
    if (store::maintain(step)) worker::mark_config_changed();
    pg::call([] { SPI_commit(); });
    pg::check_for_interrupts();
  }
  return Datum{0};
}

}  // namespace saga::api
