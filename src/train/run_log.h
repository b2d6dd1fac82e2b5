#pragma once

#include <string>

namespace locant {

/// Appends `line` and a newline to a file, and has the system take it: a full disk shows here. Throws Error
/// with the file and the reason.
void append_log_line(const std::string& path, const std::string& line);

/// Of a clock that only goes forward.
double clock_seconds();

}  // namespace locant
