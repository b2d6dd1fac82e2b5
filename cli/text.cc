// Numbers and text for people and for machines.
#include <fnmatch.h>

#include <algorithm>
#include <cmath>

#include "cli/cli.h"

namespace locant::cli {

std::string with_commas(std::int64_t value) {
  std::string digits = std::to_string(value);
  const std::size_t first = value < 0 ? 1 : 0;
  for (std::size_t i = digits.size(); i > first + 3; i -= 3) digits.insert(i - 3, 1, ',');
  return digits;
}

std::string human_bytes(double bytes) {
  static const char* const kUnits[] = {"B", "kB", "MB", "GB", "TB"};
  std::size_t unit = 0;
  while (bytes >= 999.5 && unit + 1 < std::size(kUnits)) {
    bytes /= 1000.0;
    ++unit;
  }
  if (unit == 0) return fmt::format("{:.0f} B", bytes);
  return fmt::format("{:.{}f} {}", bytes, bytes < 9.95 ? 1 : 0, kUnits[unit]);
}

std::string human_seconds(double seconds) {
  if (seconds < 1.0) return fmt::format("{:.{}f} ms", seconds * 1e3, seconds < 0.0995 ? 1 : 0);
  if (seconds < 59.95) return fmt::format("{:.{}f} s", seconds, seconds < 9.995 ? 2 : 1);
  const std::int64_t whole = std::llround(seconds);
  if (whole < 3600) return fmt::format("{} min {} s", whole / 60, whole % 60);
  return fmt::format("{} h {} min", whole / 3600, whole % 3600 / 60);
}

namespace {

// Length of the valid UTF-8 sequence at the start of `text` (Unicode table 3-7), 0 when it is none.
std::size_t utf8_length(std::string_view text) {
  const auto byte = [&](std::size_t i) { return static_cast<unsigned char>(text[i]); };
  const unsigned char lead = byte(0);
  if (lead < 0x80) return 1;
  const std::size_t length = lead >= 0xF0 ? 4 : lead >= 0xE0 ? 3 : 2;
  if (lead < 0xC2 || lead > 0xF4 || text.size() < length) return 0;
  for (std::size_t i = 1; i < length; ++i)
    if ((byte(i) & 0xC0) != 0x80) return 0;
  const unsigned char second = byte(1);
  const bool bad = (lead == 0xE0 && second < 0xA0) || (lead == 0xED && second > 0x9F) ||
                   (lead == 0xF0 && second < 0x90) || (lead == 0xF4 && second > 0x8F);
  return bad ? 0 : length;
}

constexpr unsigned kNoControl = ~0u;

// The control character (C0, DEL, C1) at the start of `text`.
unsigned control_at(std::string_view text) {
  const auto byte = static_cast<unsigned char>(text[0]);
  if (byte < 0x20 || byte == 0x7F) return byte;
  const auto next = static_cast<unsigned char>(text.size() > 1 ? text[1] : 0);
  return byte == 0xC2 && next >= 0x80 && next < 0xA0 ? next : kNoControl;
}

}  // namespace

std::string json_string(std::string_view text) {
  std::string json = "\"";
  while (!text.empty()) {
    const std::size_t length = utf8_length(text);
    const char c = text[0];
    if (length == 0) {
      json += "\xEF\xBF\xBD";
    } else if (c == '"' || c == '\\') {
      json += '\\';
      json += c;
    } else if (c == '\n') {
      json += "\\n";
    } else if (const unsigned control = control_at(text); control != kNoControl) {
      json += fmt::format("\\u{:04x}", control);
    } else {
      json += text.substr(0, length);
    }
    text.remove_prefix(length == 0 ? 1 : length);
  }
  return json + "\"";
}

std::string printable(std::string_view text, bool keep_newlines) {
  std::string shown;
  while (!text.empty()) {
    const std::size_t length = std::max<std::size_t>(utf8_length(text), 1);
    const auto byte = static_cast<unsigned char>(text[0]);
    const unsigned control = control_at(text);
    if (utf8_length(text) == 0 || (control < 0x80 && !(keep_newlines && byte == '\n')))
      shown += fmt::format("\\x{:02x}", byte);
    else if (control >= 0x80 && control != kNoControl)
      shown += fmt::format("\\u{:04x}", control);
    else
      shown += text.substr(0, length);
    text.remove_prefix(length);
  }
  return shown;
}

std::string printable_json(std::string_view json) {
  std::string shown;
  while (!json.empty()) {
    const std::size_t length = std::max<std::size_t>(utf8_length(json), 1);
    const unsigned control = control_at(json);
    if (control == kNoControl || control < 0x20)  // within strings a library escapes these itself
      shown += json.substr(0, length);
    else
      shown += fmt::format("\\u{:04x}", control);
    json.remove_prefix(length);
  }
  return shown;
}

bool glob_match(std::string_view pattern, std::string_view text) {
  return fnmatch(std::string(pattern).c_str(), std::string(text).c_str(), 0) == 0;
}

}  // namespace locant::cli
