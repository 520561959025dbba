// An error of the server, or one of ours, as a C++ exception with all its fields, and the conditions of
// class SG that this product raises itself.
#pragma once

#include "pg/postgres.hpp"

namespace saga::pg {

/// A condition of this product or of the server: five characters, packed as the server does.
using SqlState = int;

constexpr SqlState sqlstate(const char (&code)[6]) {
  return MAKE_SQLSTATE(code[0], code[1], code[2], code[3], code[4]);
}

// The class SG. SG001-SG003 are what reject, snooze and skip raise inside a handler.
inline constexpr SqlState kRejected = sqlstate("SG001");
inline constexpr SqlState kSnoozed = sqlstate("SG002");
inline constexpr SqlState kSkipped = sqlstate("SG003");
inline constexpr SqlState kUnknownTopic = sqlstate("SG010");
inline constexpr SqlState kUnknownConsumerGroup = sqlstate("SG011");
inline constexpr SqlState kUnknownEvent = sqlstate("SG012");
inline constexpr SqlState kUnknownDeadLetter = sqlstate("SG013");
inline constexpr SqlState kNotParked = sqlstate("SG014");
inline constexpr SqlState kInvalidOption = sqlstate("SG020");
inline constexpr SqlState kAlreadyExists = sqlstate("SG021");
inline constexpr SqlState kIdConflict = sqlstate("SG022");
inline constexpr SqlState kInvalidHandler = sqlstate("SG023");
inline constexpr SqlState kInUse = sqlstate("SG024");
inline constexpr SqlState kNotPreloaded = sqlstate("SG030");
inline constexpr SqlState kPaused = sqlstate("SG031");
inline constexpr SqlState kNotInHandler = sqlstate("SG032");

/// What pg::call throws for a server error, and what our code throws itself. The boundary raises it again
/// with every field kept. Messages follow the server's style: primary lower-case, DETAIL and HINT sentences.
class Error : public std::exception {
 public:
  Error(SqlState code, std::string message, std::string detail = {}, std::string hint = {})
      : code_(code), message_(std::move(message)), detail_(std::move(detail)), hint_(std::move(hint)) {}

  [[nodiscard]] const char *what() const noexcept override { return message_.c_str(); }
  [[nodiscard]] SqlState code() const noexcept { return code_; }
  [[nodiscard]] const std::string &message() const noexcept { return message_; }
  [[nodiscard]] const std::string &detail() const noexcept { return detail_; }
  [[nodiscard]] const std::string &hint() const noexcept { return hint_; }
  [[nodiscard]] const std::string &context() const noexcept { return context_; }
  void set_context(std::string context) { context_ = std::move(context); }

  /// The five characters.
  [[nodiscard]] std::string sqlstate_text() const;

 private:
  SqlState code_;
  std::string message_;
  std::string detail_;
  std::string hint_;
  std::string context_;
};

/// Copies the error that was just raised, clears the server's error state and throws it.
[[noreturn]] void throw_raised_error(MemoryContext context);

/// An error on its way out of C++: plain memory only, so that raising it skips no destructor.
struct PlainError {
  SqlState code;
  const char *message;
  const char *detail;
  const char *hint;
  const char *context;
};

/// Must be called inside a catch block; allocates in the current context without raising.
PlainError describe_current_exception() noexcept;

[[noreturn]] void raise(const PlainError &error);

/// "name" as messages show it.
[[nodiscard]] std::string quoted(std::string_view name);

}  // namespace saga::pg
