#include "core/thread_count.h"

#include <algorithm>
#include <charconv>

#include "core/error.h"
#include "core/parallel.h"

namespace locant {
namespace {

std::string_view trimmed(std::string_view text) {
  constexpr std::string_view kSpace = " \t\n\r\f\v";
  const std::size_t first = text.find_first_not_of(kSpace);
  if (first == std::string_view::npos) return {};
  return text.substr(first, text.find_last_not_of(kSpace) - first + 1);
}

/// A whole number and nothing else, kMaxThreads + 1 at most.
std::optional<int> parse_number(std::string_view text) {
  text = trimmed(text);
  if (text.empty() || text.find_first_not_of("0123456789") != std::string_view::npos) return std::nullopt;
  int number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (error == std::errc::result_out_of_range) return kMaxThreads + 1;
  return std::min(number, kMaxThreads + 1);
}

}  // namespace

int parse_locant_num_threads(std::string_view text) {
  const std::optional<int> number = parse_number(text);
  require(number && *number >= 1 && *number <= kMaxThreads, "threads",
          "LOCANT_NUM_THREADS is '{}'; it must be a number of 1 to {}", text, kMaxThreads);
  return *number;
}

std::optional<int> parse_omp_num_threads(std::string_view text) {
  std::optional<int> first;
  for (std::size_t begin = 0; begin <= text.size();) {
    const std::size_t end = std::min(text.find(',', begin), text.size());
    const std::optional<int> number = parse_number(text.substr(begin, end - begin));
    if (!number || *number < 1) return std::nullopt;
    if (!first) first = std::min(*number, kMaxThreads);
    begin = end + 1;
  }
  return first;
}

}  // namespace locant
