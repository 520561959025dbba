#include "store/handlers.hpp"

#include "pg/compat.hpp"
#include "pg/identity.hpp"
#include "pg/settings.hpp"

namespace saga::store {

namespace {

/// What pg_proc says, as plain data.
struct FunctionRow {
  Oid owner;
  Oid schema;
  Oid result;
  Oid argument;
  int arguments;
  char kind;
  bool set;
  NameData name;
};

FunctionRow function_row(Oid function) {
  return pg::call([&] {
    HeapTuple tuple = SearchSysCache1(PROCOID, ObjectIdGetDatum(function));
    if (!HeapTupleIsValid(tuple)) elog(ERROR, "cache lookup failed for function %u", function);
    const auto *form = reinterpret_cast<Form_pg_proc>(GETSTRUCT(tuple));
    const FunctionRow row{form->proowner,   form->pronamespace,
                          form->prorettype, form->pronargs > 0 ? form->proargtypes.values[0] : InvalidOid,
                          form->pronargs,   form->prokind,
                          form->proretset,  form->proname};
    ReleaseSysCache(tuple);
    return row;
  });
}

Oid event_type() {
  return pg::call([] {
    return GetSysCacheOid2(TYPENAMENSP, Anum_pg_type_oid, CStringGetDatum("event"),
                           ObjectIdGetDatum(get_namespace_oid("saga", false)));
  });
}

std::string example_of(const std::string &handler) {
  const std::string name = handler.substr(0, std::min(handler.find('('), std::size_t{200}));
  return "CREATE FUNCTION " + (name.empty() ? "handler" : name) +
         "(event saga.event) RETURNS void LANGUAGE plpgsql AS $$ BEGIN ... END $$;";
}

[[noreturn]] void invalid_handler(const std::string &handler, const std::string &message, const std::string &detail) {
  throw pg::Error{pg::kInvalidHandler, message, detail, example_of(handler)};
}

/// InvalidOid: there is none.
Oid find_function(const std::string &signature) {
  const Datum text = pg::text_datum(signature);
  return pg::call([&]() -> Oid {
    LOCAL_FCINFO(fcinfo, 1);
    InitFunctionCallInfoData(*fcinfo, nullptr, 1, InvalidOid, nullptr, nullptr);
    fcinfo->args[0].value = text;
    fcinfo->args[0].isnull = false;
    const Datum found = to_regprocedure(fcinfo);
    return fcinfo->isnull ? InvalidOid : DatumGetObjectId(found);
  });
}

Oid require_function(const std::string &handler) {
  const std::string signature = handler.find('(') == std::string::npos ? handler + "(saga.event)" : handler;
  std::string detail = "It is looked up with one argument of type saga.event in the search_path of the caller.";
  try {
    const Oid found = find_function(signature);
    if (OidIsValid(found)) return found;
  } catch (const pg::Error &error) {
    if (error.code() == ERRCODE_INSUFFICIENT_PRIVILEGE || error.code() == ERRCODE_QUERY_CANCELED) throw;
    detail = "The server says: " + error.message() + ".";
  }
  invalid_handler(handler, "handler function " + pg::quoted(handler) + " does not exist", detail);
}

void require_shape(const std::string &handler, const FunctionRow &row) {
  const std::string named = "handler " + pg::quoted(handler);
  if (row.kind != PROKIND_FUNCTION) {
    invalid_handler(handler, named + " is not a plain function",
                    "A procedure, an aggregate or a window function cannot be a handler.");
  }
  if (row.arguments != 1 || row.argument != event_type()) {
    invalid_handler(handler, named + " must have one argument of type saga.event", {});
  }
  if (row.set || (row.result != VOIDOID && row.result != JSONBOID)) {
    const char *type = pg::call([&] { return format_type_be(row.result); });
    invalid_handler(handler, named + " must return void or jsonb",
                    std::string("It returns ") + (row.set ? "a set of " : "") + type + ".");
  }
  if (pg::call([&] { return isAnyTempNamespace(row.schema); })) {
    invalid_handler(handler, named + " is a temporary function", "Workers cannot see it.");
  }
}

bool can_log_in(Oid role) {
  return pg::call([&] {
    HeapTuple tuple = SearchSysCache1(AUTHOID, ObjectIdGetDatum(role));
    if (!HeapTupleIsValid(tuple)) return false;
    const bool answer = reinterpret_cast<Form_pg_authid>(GETSTRUCT(tuple))->rolcanlogin;
    ReleaseSysCache(tuple);
    return answer;
  });
}

bool is_superuser(Oid role) {
  return pg::call([&] { return superuser_arg(role); });
}

void require_execute(const HandlerFunction &function, const Role &role) {
  if (pg::call([&] { return pg::compat::function_execute_right(function.oid, role.oid); }) == ACLCHECK_OK) return;
  throw pg::Error{ERRCODE_INSUFFICIENT_PRIVILEGE,
                  "role " + pg::quoted(role.name) + " may not execute " + function.signature,
                  {},
                  "GRANT EXECUTE ON FUNCTION " + function.signature + " TO " +
                      pg::call([&] { return quote_identifier(role.name.c_str()); }) + ";"};
}

void require_right_to_run(const HandlerFunction &function, const Role &run_as) {
  require_execute(function, run_as);
  if (!is_superuser(run_as.oid)) return;
  if (!pg::settings::superuser_handlers) {
    throw pg::Error{pg::kInvalidOption, "handlers may not run as the superuser " + pg::quoted(run_as.name),
                    "saga.superuser_handlers is off.", "Name a plain role with run_as => ..."};
  }
  if (is_superuser(function.owner)) return;
  throw pg::Error{pg::kInvalidHandler, function.signature + " may not run as the superuser " + pg::quoted(run_as.name),
                  "It belongs to " + pg::quoted(function.owner_name) + ", who could change it at any time.",
                  "Name a plain role with run_as => ..., for example run_as => '" + function.owner_name + "'."};
}

}  // namespace

HandlerFunction look_up_handler(const std::string &handler) {
  HandlerFunction found;
  found.oid = require_function(handler);
  const FunctionRow row = function_row(found.oid);
  require_shape(handler, row);
  found.name = NameStr(row.name);
  found.signature = pg::call([&] { return format_procedure_qualified(found.oid); });
  found.owner = row.owner;
  found.owner_name = pg::role_name(row.owner).value_or("?");
  return found;
}

Role role_by_name(const std::string &name) {
  const Oid oid = pg::call([&] { return get_role_oid(name.c_str(), true); });
  if (OidIsValid(oid)) return {oid, name};
  throw pg::Error{ERRCODE_UNDEFINED_OBJECT,
                  "role " + pg::quoted(name) + " does not exist",
                  {},
                  "See pg_catalog.pg_roles for the roles there are, or CREATE ROLE."};
}

Role current_role() { return {GetUserId(), pg::role_name(GetUserId()).value_or("?")}; }

Role require_run_as(const std::optional<std::string> &name) {
  const Role caller = current_role();
  const Role role = name ? role_by_name(*name) : caller;
  if (role.oid != caller.oid && !pg::call([&] { return pg::compat::may_become(caller.oid, role.oid); })) {
    throw pg::Error{ERRCODE_INSUFFICIENT_PRIVILEGE,
                    "role " + pg::quoted(caller.name) + " may not let handlers run as " + pg::quoted(role.name),
                    {},
                    "Name a role that you are a member of with run_as => ..., or leave it out."};
  }
  const std::string shown = pg::call([&] { return quote_identifier(role.name.c_str()); });
  if (!can_log_in(role.oid)) {
    throw pg::Error{pg::kInvalidOption, "role " + pg::quoted(role.name) + " cannot run handlers: it cannot log in",
                    "A worker connects as the role of its subscriptions.",
                    "ALTER ROLE " + shown + " LOGIN; or name another role with run_as => ..."};
  }
  if (pg::call([&] { return pg::compat::database_connect_right(MyDatabaseId, role.oid); }) != ACLCHECK_OK) {
    throw pg::Error{pg::kInvalidOption,
                    "role " + pg::quoted(role.name) + " cannot run handlers: it may not connect to this database",
                    "A worker connects as the role of its subscriptions.",
                    "GRANT CONNECT ON DATABASE ... TO " + shown + ";"};
  }
  return role;
}

void require_runnable(const HandlerFunction &function, const Role &run_as) {
  const Role caller = current_role();
  require_execute(function, caller);
  require_right_to_run(function, run_as);
}

ConfirmedHandler confirm_handler(const Subscription &subscription) {
  HandlerFunction function;
  {
    pg::OwnerScope owner;  // the operator need not see the schema of the handler
    function = look_up_handler(subscription.handler);
  }
  const Role run_as = role_by_name(subscription.run_as);
  if (function.owner_name != subscription.handler_owner || run_as.oid != subscription.run_as_oid) {
    (void)require_run_as(subscription.run_as);
  }
  require_right_to_run(function, run_as);
  return {function.owner_name, run_as.oid};
}

}  // namespace saga::store
