// The two crossings between C++ and the server. pg::call: a server error becomes a C++ exception.
// pg::boundary: a C++ exception becomes a server error. Nothing else jumps or raises.
#pragma once

#include "pg/error.hpp"

namespace saga::pg {

/// Runs f, in which anything of the server may raise, and throws pg::Error if it does. The frames that the
/// server jumps over must own nothing: f captures by reference, and its locals and its result are
/// trivially destructible. The hold-off counters come back too: the server zeroes them when it raises, and a
/// lock guard that is released later would wrap them around.
/// After a throw the caller must leave a Subtransaction or Transaction before it calls the server again.
template <typename F>
auto call(F &&f) -> std::invoke_result_t<F &> {
  using Result = std::invoke_result_t<F &>;
  static_assert(std::is_void_v<Result> || std::is_trivially_destructible_v<Result>,
                "a server error would skip the destructor of this result");
  static_assert(std::is_trivially_destructible_v<std::remove_reference_t<F>>, "capture by reference");

  sigjmp_buf *const outer_stack = PG_exception_stack;
  ErrorContextCallback *const outer_context_stack = error_context_stack;
  const MemoryContext outer_memory = CurrentMemoryContext;
  const auto interrupt_holdoff = InterruptHoldoffCount;
  const auto cancel_holdoff = QueryCancelHoldoffCount;
  sigjmp_buf here;
  if (sigsetjmp(here, 0) == 0) {
    PG_exception_stack = &here;
    if constexpr (std::is_void_v<Result>) {
      f();
      PG_exception_stack = outer_stack;
      error_context_stack = outer_context_stack;
      return;
    } else {
      Result result = f();
      PG_exception_stack = outer_stack;
      error_context_stack = outer_context_stack;
      return result;
    }
  }
  PG_exception_stack = outer_stack;
  error_context_stack = outer_context_stack;
  InterruptHoldoffCount = interrupt_holdoff;
  QueryCancelHoldoffCount = cancel_holdoff;
  throw_raised_error(outer_memory);
}

/// The body of every extern "C" entry point: catches everything, leaves the catch block, then raises.
template <typename F>
auto boundary(F &&body) -> std::invoke_result_t<F &> {
  PlainError error;
  try {
    return body();
  } catch (...) {
    error = describe_current_exception();
  }
  raise(error);
}

inline void check_for_interrupts() {
  if (INTERRUPTS_PENDING_CONDITION()) call([] { CHECK_FOR_INTERRUPTS(); });
}

}  // namespace saga::pg
