// How a SQL-callable function is written: SAGA_FUNCTION(name) { ... } reads its arguments through Args, calls,
// and returns a Datum. Everything it throws becomes a server error with SQLSTATE, DETAIL and HINT.
#pragma once

#include "pg/spi.hpp"

namespace saga::api {

/// Typed reading of the arguments of a call; positions count from 0, names are for messages.
class Args {
 public:
  explicit Args(FunctionCallInfo fcinfo) noexcept : fcinfo_(fcinfo) {}

  [[nodiscard]] bool is_null(int i) const noexcept { return i >= fcinfo_->nargs || fcinfo_->args[i].isnull; }
  /// Throws 22004 when the argument is NULL.
  [[nodiscard]] Datum datum(int i, const char *name) const {
    if (is_null(i)) {
      throw pg::Error{ERRCODE_NULL_VALUE_NOT_ALLOWED,
                      std::string("argument \"") + name + "\" must not be NULL",
                      {},
                      std::string("Pass a value for ") + name + "."};
    }
    return fcinfo_->args[i].value;
  }
  [[nodiscard]] std::string text(int i, const char *name) const { return pg::to_string(datum(i, name)); }
  [[nodiscard]] bool boolean(int i, const char *name) const { return DatumGetBool(datum(i, name)); }
  [[nodiscard]] std::int32_t i32(int i, const char *name) const { return DatumGetInt32(datum(i, name)); }
  [[nodiscard]] double f64(int i, const char *name) const { return DatumGetFloat8(datum(i, name)); }
  [[nodiscard]] Interval interval(int i, const char *name) const { return *DatumGetIntervalP(datum(i, name)); }
  [[nodiscard]] TimestampTz time(int i, const char *name) const { return DatumGetTimestampTz(datum(i, name)); }
  [[nodiscard]] std::optional<std::string> optional_text(int i) const {
    if (is_null(i)) return std::nullopt;
    return pg::to_string(fcinfo_->args[i].value);
  }
  [[nodiscard]] std::optional<Datum> optional_datum(int i) const {
    if (is_null(i)) return std::nullopt;
    return fcinfo_->args[i].value;
  }
  [[nodiscard]] FunctionCallInfo info() const noexcept { return fcinfo_; }

 private:
  FunctionCallInfo fcinfo_;
};

inline Datum null_result(FunctionCallInfo fcinfo) noexcept {
  fcinfo->isnull = true;
  return Datum{0};
}

/// Throws 25006 with the way out on a standby and in a read-only transaction.
void require_writable(const char *what);

/// Rows of a set-returning function, materialised (RETURNS TABLE / SETOF).
class RowSet {
 public:
  explicit RowSet(FunctionCallInfo fcinfo);
  void add(std::initializer_list<pg::Param> columns);

 private:
  ReturnSetInfo *info_;
};

/// The name of the current user, as audit rows show it.
[[nodiscard]] std::string current_user_name();

}  // namespace saga::api

#define SAGA_FUNCTION(name)                                           \
  static Datum name##_body(FunctionCallInfo fcinfo);                  \
  extern "C" {                                                        \
  SAGA_EXPORT Datum name(PG_FUNCTION_ARGS);                           \
  SAGA_EXPORT const Pg_finfo_record *pg_finfo_##name(void);           \
  const Pg_finfo_record *pg_finfo_##name(void) {                      \
    static const Pg_finfo_record info = {1};                          \
    return &info;                                                     \
  }                                                                   \
  Datum name(PG_FUNCTION_ARGS) {                                      \
    return ::saga::pg::boundary([&] { return name##_body(fcinfo); }); \
  }                                                                   \
  }                                                                   \
  static Datum name##_body(FunctionCallInfo fcinfo)
