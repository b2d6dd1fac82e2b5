#include "cli/drawn.h"

#include <algorithm>
#include <charconv>
#include <cmath>

#include "cli/cli.h"
#include "core/error.h"
#include "io/paint.h"

namespace locant::cli {
namespace {

constexpr std::int64_t kPixels = 256, kGap = 8, kLargestCell = 64, kMostBeside = 512;

ColourScale scale_of(const Drawing& drawing) {
  if (drawing.counts) return {drawing.numbers, Palette::ranks};
  const bool signs =
      std::any_of(drawing.numbers.begin(), drawing.numbers.end(), [](float number) { return number < 0.0f; });
  return {drawing.numbers, signs ? Palette::diverging : Palette::from_zero};
}

Image panel(const Drawing& drawing, const ColourScale& scale, std::int64_t cell,
            std::int64_t pixels = kPixels) {
  const std::int64_t longest = std::max(drawing.rows, drawing.columns);
  if (cell == 0) cell = std::clamp<std::int64_t>((pixels + longest / 2) / longest, 1, kLargestCell);
  return paint_matrix(drawing.numbers, drawing.rows, drawing.columns, scale, cell);
}

std::string number_text(float number, const char* nothing) {
  if (!std::isfinite(number)) return nothing;
  return number == std::floor(number) ? fmt::format("{:.0f}", number) : fmt::format("{:.3g}", number);
}

std::string grid_json(const Grid& grid) {
  return fmt::format("[{},{},{}]", grid.frames, grid.rows, grid.columns);
}

}  // namespace

Grid parse_grid(const std::string& text) {
  std::vector<std::int64_t> sides;
  const char *at = text.data(), *end = at + text.size();
  bool fine = true;
  do {
    sides.push_back(0);
    const auto [next, code] = std::from_chars(at, end, sides.back());
    fine = code == std::errc() && sides.back() >= 1 && sides.size() <= 3 && (next == end || *next == 'x');
    at = next == end ? next : next + 1;
    fine = fine && (next == end || at != end);  // nothing behind the last x
  } while (fine && at != end);
  require(fine, "draw", "a grid \"{}\"; N, ROWSxCOLUMNS or FRAMESxROWSxCOLUMNS was expected", text);
  sides.insert(sides.begin(), 3 - sides.size(), 1);
  return {sides[0], sides[1], sides[2]};
}

Image painted(const Drawing& drawing, const EncodingCase& c, std::int64_t cell) {
  const ColourScale scale = scale_of(drawing);
  const Image whole = panel(drawing, scale, cell);
  if (!drawing.pairs || c.key.rows * c.key.frames == 1) return whole;
  const Grid& grid = c.query;
  const std::int64_t middle =
      ((grid.frames / 2) * grid.rows + grid.rows / 2) * grid.columns + grid.columns / 2;
  const Drawing one = query_drawing(drawing, c, c.prefix + middle);
  // Of hundreds of rows a query reads few: by their own ranks the columns of the grid show too.
  return paint_beside(
      whole, panel(one, one.counts ? scale_of(one) : scale, cell, std::min(whole.rows, kMostBeside)), kGap);
}

Image painted(const Drawing& drawing, std::int64_t cell) { return panel(drawing, scale_of(drawing), cell); }

std::string drawing_text(const Drawing& drawing) {
  std::vector<std::string> cells;
  std::size_t width = 0;
  for (const float number : drawing.numbers) {
    cells.push_back(number_text(number, "."));
    width = std::max(width, cells.back().size());
  }
  std::string out;
  for (std::size_t n = 0; n < cells.size(); ++n) {
    const bool last = (n + 1) % static_cast<std::size_t>(drawing.columns) == 0;
    out += fmt::format("{:>{}}{}", cells[n], width, last ? "\n" : " ");
  }
  return out;
}

std::string drawing_json(const Drawing& drawing, const Encoding& encoding, const EncodingCase& c) {
  std::string numbers;
  for (std::size_t n = 0; n < drawing.numbers.size(); ++n) {
    const bool first = n % static_cast<std::size_t>(drawing.columns) == 0;
    if (n > 0) numbers += first ? "],[" : ",";
    numbers += number_text(drawing.numbers[n], "null");
  }
  return fmt::format(
      "{{\"encoding\":{},\"variant\":{},\"query_grid\":{},\"key_grid\":{},\"prefix\":{},\"heads\":{},\"d\":{}"
      ","
      "\"rows\":{},\"columns\":{},\"numbers\":[[{}]]}}\n",
      json_string(encoding.name), json_string(c.variant), grid_json(c.query), grid_json(c.key), c.prefix, c.H,
      c.D, drawing.rows, drawing.columns, numbers);
}

}  // namespace locant::cli
