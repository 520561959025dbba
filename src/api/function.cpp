#include "api/function.hpp"

#include "pg/identity.hpp"

namespace saga::api {

void require_writable(const char *what) {
  if (RecoveryInProgress()) {
    throw pg::Error{ERRCODE_READ_ONLY_SQL_TRANSACTION,
                    std::string("cannot ") + what + " on a standby",
                    {},
                    "Connect to the primary server."};
  }
  if (XactReadOnly) {
    throw pg::Error{ERRCODE_READ_ONLY_SQL_TRANSACTION,
                    std::string("cannot ") + what + " in a read-only transaction",
                    {},
                    "Start the transaction READ WRITE."};
  }
}

RowSet::RowSet(FunctionCallInfo fcinfo) : info_(reinterpret_cast<ReturnSetInfo *>(fcinfo->resultinfo)) {
  pg::call([&] {
#if PG_VERSION_NUM >= 150000 && PG_VERSION_NUM < 160000
    SetSingleFuncCall(fcinfo, 0);
#else
    InitMaterializedSRF(fcinfo, 0);
#endif
  });
}

void RowSet::add(std::initializer_list<pg::Param> columns) {
  std::array<Datum, 40> values{};
  std::array<bool, 40> nulls{};
  std::size_t i = 0;
  for (const pg::Param &column : columns) {
    values[i] = column.value;
    nulls[i] = column.null;
    ++i;
  }
  pg::call([&] { tuplestore_putvalues(info_->setResult, info_->setDesc, values.data(), nulls.data()); });
}

std::string current_user_name() { return pg::role_name(GetUserId()).value_or("?"); }

}  // namespace saga::api
