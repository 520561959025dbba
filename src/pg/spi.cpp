#include "pg/spi.hpp"

namespace saga::pg {

namespace {

constexpr std::size_t kParamsMax = 40;

struct Bound {
  std::array<Oid, kParamsMax> types;
  std::array<Datum, kParamsMax> values;
  std::array<char, kParamsMax> nulls;
};

Bound bind(std::span<const Param> params) {
  if (params.size() > kParamsMax) throw Error{ERRCODE_INTERNAL_ERROR, "too many parameters in an engine statement"};
  Bound bound{};
  std::size_t i = 0;
  for (const Param &p : params) {
    bound.types[i] = p.type;
    bound.values[i] = p.value;
    bound.nulls[i] = p.null ? 'n' : ' ';
    ++i;
  }
  return bound;
}

void check(int code, const char *sql) {
  if (code < 0) throw Error{ERRCODE_INTERNAL_ERROR, std::string(SPI_result_code_string(code)) + " in: " + sql};
}

void prepare(Statement &statement, Bound &bound, std::size_t count) {
  if (statement.plan != nullptr) return;
  statement.plan = call([&]() -> SPIPlanPtr {
    SPIPlanPtr plan = SPI_prepare(statement.sql, static_cast<int>(count), bound.types.data());
    if (plan != nullptr && SPI_keepplan(plan) != 0) return nullptr;
    return plan;
  });
  if (statement.plan == nullptr) check(SPI_result < 0 ? SPI_result : SPI_ERROR_ARGUMENT, statement.sql);
}

}  // namespace

Spi::Spi(Atomicity atomicity) : exceptions_(std::uncaught_exceptions()) {
  call([&] { SPI_connect_ext(atomicity == Atomicity::NonAtomic ? SPI_OPT_NONATOMIC : 0); });
}

Spi::~Spi() {
  if (std::uncaught_exceptions() == exceptions_) SPI_finish();
}

bool Row::is_null(int column) const { return heap_attisnull(tuple_, column, desc_); }

Datum Row::datum(int column) const {
  const auto value = optional_datum(column);
  if (!value) throw Error{ERRCODE_INTERNAL_ERROR, "unexpected NULL in column " + std::to_string(column)};
  return *value;
}

std::optional<Datum> Row::optional_datum(int column) const {
  bool null = false;
  const Datum value = call([&] { return SPI_getbinval(tuple_, desc_, column, &null); });
  if (null) return std::nullopt;
  return value;
}

std::optional<std::string> Row::optional_text(int column) const {
  const auto value = optional_datum(column);
  if (!value) return std::nullopt;
  return to_string(*value);
}

Rows run(Statement &statement, std::span<const Param> params) {
  Bound bound = bind(params);
  prepare(statement, bound, params.size());
  check(call([&] { return SPI_execute_plan(statement.plan, bound.values.data(), bound.nulls.data(), false, 0); }),
        statement.sql);
  return {SPI_tuptable, SPI_processed};
}

CursorScan::CursorScan(Statement &statement, const std::vector<Param> &params)
    : exceptions_(std::uncaught_exceptions()) {
  Bound bound = bind(params);
  prepare(statement, bound, params.size());
  portal_ =
      call([&] { return SPI_cursor_open(nullptr, statement.plan, bound.values.data(), bound.nulls.data(), false); });
  if (portal_ == nullptr) check(SPI_result < 0 ? SPI_result : SPI_ERROR_ARGUMENT, statement.sql);
}

CursorScan::~CursorScan() {
  // Closing may raise only after an error, when the rollback closes it anyway.
  if (std::uncaught_exceptions() == exceptions_) SPI_cursor_close(portal_);
}

Rows CursorScan::next(long count) {
  call([&] {
    if (table_ != nullptr) SPI_freetuptable(table_);
    SPI_cursor_fetch(portal_, true, count);
  });
  table_ = SPI_tuptable;
  return {SPI_tuptable, SPI_processed};
}

void run_once(const std::string &sql) {
  check(call([&] { return SPI_execute(sql.c_str(), false, 0); }), sql.c_str());
}

Rows query_once(const std::string &sql, std::initializer_list<Param> params) {
  Bound bound = bind(std::span(params.begin(), params.size()));
  check(call([&] {
          return SPI_execute_with_args(sql.c_str(), static_cast<int>(params.size()), bound.types.data(),
                                       bound.values.data(), bound.nulls.data(), false, 0);
        }),
        sql.c_str());
  return {SPI_tuptable, SPI_processed};
}

}  // namespace saga::pg
