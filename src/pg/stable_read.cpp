#include "pg/stable_read.hpp"

namespace saga::pg {

namespace {

constexpr std::size_t kParamsMax = 10;

/// What decides which rows a snapshot sees, of the snapshot at the last look.
struct SeenSnapshot {
  TransactionId xmin = InvalidTransactionId;
  TransactionId xmax = InvalidTransactionId;
  CommandId command = 0;
  std::vector<TransactionId> running;
  std::uint64_t serial = 0;
};

void check(int code, const char *sql) {
  if (code < 0) throw Error{ERRCODE_INTERNAL_ERROR, std::string(SPI_result_code_string(code)) + " in: " + sql};
}

}  // namespace

Rows read(Statement &statement, std::initializer_list<Param> params) {
  if (params.size() > kParamsMax) throw Error{ERRCODE_INTERNAL_ERROR, "too many parameters in an engine statement"};
  std::array<Oid, kParamsMax> types{};
  std::array<Datum, kParamsMax> values{};
  std::array<char, kParamsMax> nulls{};
  std::size_t i = 0;
  for (const Param &p : params) {
    types[i] = p.type;
    values[i] = p.value;
    nulls[i] = p.null ? 'n' : ' ';
    ++i;
  }
  const int count = static_cast<int>(params.size());
  check(call([&] {
          if (statement.plan == nullptr) {
            SPIPlanPtr plan = SPI_prepare(statement.sql, count, types.data());
            if (plan == nullptr) return SPI_result < 0 ? SPI_result : SPI_ERROR_ARGUMENT;
            const int kept = SPI_keepplan(plan);
            if (kept != 0) return kept;
            statement.plan = plan;
          }
          return SPI_execute_plan(statement.plan, values.data(), nulls.data(), true, 0);
        }),
        statement.sql);
  return {SPI_tuptable, SPI_processed};
}

std::uint64_t snapshot_serial() {
  static SeenSnapshot *const seen = new SeenSnapshot;  // never destroyed: nothing may run at process exit
  const Snapshot now = call([] { return GetActiveSnapshot(); });
  const std::size_t count = now->xcnt;
  if (seen->serial != 0 && seen->xmin == now->xmin && seen->xmax == now->xmax && seen->command == now->curcid &&
      seen->running.size() == count && std::equal(seen->running.begin(), seen->running.end(), now->xip)) {
    return seen->serial;
  }
  seen->running.assign(now->xip, now->xip + count);
  seen->xmin = now->xmin;
  seen->xmax = now->xmax;
  seen->command = now->curcid;
  return ++seen->serial;
}

}  // namespace saga::pg
