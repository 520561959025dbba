#include "pg/error.hpp"

namespace saga::pg {

namespace {

std::string text_or_empty(const char *text) { return text == nullptr ? std::string() : std::string(text); }

/// palloc'd copy that survives the catch block; nullptr when memory is short or the text is empty.
const char *plain_copy(const std::string &text) noexcept {
  if (text.empty()) return nullptr;
  auto *copy =
      static_cast<char *>(MemoryContextAllocExtended(CurrentMemoryContext, text.size() + 1, MCXT_ALLOC_NO_OOM));
  if (copy != nullptr) std::memcpy(copy, text.c_str(), text.size() + 1);
  return copy;
}

}  // namespace

std::string Error::sqlstate_text() const {
  std::string text(5, ' ');
  int rest = code_;
  for (char &c : text) {
    c = static_cast<char>(PGUNSIXBIT(rest));
    rest >>= 6;
  }
  return text;
}

void throw_raised_error(MemoryContext context) {
  MemoryContextSwitchTo(context);
  ErrorData *data = CopyErrorData();
  FlushErrorState();
  Error error{data->sqlerrcode, text_or_empty(data->message), text_or_empty(data->detail), text_or_empty(data->hint)};
  error.set_context(text_or_empty(data->context));
  FreeErrorData(data);
  throw error;
}

PlainError describe_current_exception() noexcept {
  try {
    throw;
  } catch (const Error &error) {
    return {error.code(), plain_copy(error.message()), plain_copy(error.detail()), plain_copy(error.hint()),
            plain_copy(error.context())};
  } catch (const std::bad_alloc &) {
    return {ERRCODE_OUT_OF_MEMORY, nullptr, nullptr, nullptr, nullptr};
  } catch (const std::length_error &) {
    return {ERRCODE_OUT_OF_MEMORY, nullptr, nullptr, nullptr, nullptr};
  } catch (const std::exception &error) {
    return {ERRCODE_INTERNAL_ERROR, plain_copy(error.what()), nullptr, nullptr, nullptr};
  } catch (...) {
    return {ERRCODE_INTERNAL_ERROR, nullptr, nullptr, nullptr, nullptr};
  }
}

void raise(const PlainError &error) {
  const char *fallback = error.code == ERRCODE_OUT_OF_MEMORY ? "out of memory" : "unknown error in pg_saga";
  ereport(ERROR, (errcode(error.code), errmsg_internal("%s", error.message != nullptr ? error.message : fallback),
                  error.detail != nullptr ? errdetail_internal("%s", error.detail) : 0,
                  error.hint != nullptr ? errhint("%s", error.hint) : 0,
                  error.context != nullptr ? errcontext_msg("%s", error.context) : 0));
  pg_unreachable();
}

std::string quoted(std::string_view name) {
  std::string text;
  text.reserve(name.size() + 2);
  text.append("\"").append(name.substr(0, 200)).append(name.size() > 200 ? "..." : "").append("\"");
  return text;
}

}  // namespace saga::pg
