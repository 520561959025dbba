// Messages to the client that are no errors.
#pragma once

#include "pg/guard.hpp"

namespace saga::pg {

inline void notice(const std::string &message, const std::string &hint) {
  call([&] {
    ereport(NOTICE, (errmsg_internal("%s", message.c_str()), hint.empty() ? 0 : errhint("%s", hint.c_str())));
  });
}

}  // namespace saga::pg
