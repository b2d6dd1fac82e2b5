#include "io/contact_sheet.h"

#include <algorithm>
#include <cmath>

#include "core/error.h"
#include "io/bitmap_font.h"
#include "io/pil_resize.h"

namespace locant {
namespace {

constexpr std::int64_t kSheetGap = 12, kTitleScale = 2;
constexpr Colour kBacking = {240, 240, 240};

std::int64_t sheet_line_rows(std::int64_t scale) { return kGlyphRows * scale + 2; }

Image enlarged(const Image& image, std::int64_t times) {
  Image out = blank_image(image.rows * times, image.columns * times);
  for (std::int64_t y = 0; y < out.rows; ++y)
    for (std::int64_t x = 0; x < out.columns; ++x)
      std::copy_n(image.rgb.data() + (y / times * image.columns + x / times) * 3, 3,
                  out.rgb.data() + (y * out.columns + x) * 3);
  return out;
}

}  // namespace

Image fit_into(const Image& image, std::int64_t side) {
  require(image.rows >= 1 && image.columns >= 1 && side >= 1, "paint",
          "a picture of {} x {} in a square of {} pixels", image.columns, image.rows, side);
  const std::int64_t longest = std::max(image.rows, image.columns);
  if (longest <= side) return side / longest == 1 ? image : enlarged(image, side / longest);
  const auto scaled = [&](std::int64_t length) { return std::max<std::int64_t>(length * side / longest, 1); };
  return pil_resize(image, scaled(image.columns), scaled(image.rows), ResizeFilter::bilinear);
}

Image paint_contact_sheet(const ContactSheet& sheet) {
  require(sheet.across >= 1 && sheet.side >= 1, "paint", "{} pictures a row, squares of {} pixels",
          sheet.across, sheet.side);
  const auto count = static_cast<std::int64_t>(sheet.pictures.size());
  std::int64_t below = 0;
  for (const SheetPicture& picture : sheet.pictures) {
    std::int64_t rows = 0;
    for (const SheetLine& line : picture.lines) rows += sheet_line_rows(line.scale);
    below = std::max(below, rows);
  }
  const std::int64_t step_across = sheet.side + kSheetGap, step_down = sheet.side + kSheetGap + below,
                     subtitle = sheet.subtitle.empty() ? 0 : sheet_line_rows(1),
                     top = 2 * kSheetGap + kGlyphRows * kTitleScale + subtitle,
                     title = std::max(text_width(sheet.title, kTitleScale), text_width(sheet.subtitle)) +
                             2 * kSheetGap,
                     rows = (count + sheet.across - 1) / sheet.across,
                     columns = std::max(kSheetGap + std::min(count, sheet.across) * step_across, title);
  Image out = blank_image(top + rows * step_down + kSheetGap, columns);
  draw_text(out, kSheetGap, kSheetGap, sheet.title, {.scale = kTitleScale});
  draw_text(out, top - kSheetGap - subtitle + 2, kSheetGap, sheet.subtitle);
  for (std::int64_t i = 0; i < count; ++i) {
    const SheetPicture& picture = sheet.pictures[static_cast<std::size_t>(i)];
    const std::int64_t row = top + i / sheet.across * step_down,
                       column = kSheetGap + i % sheet.across * step_across;
    const Image fitted = fit_into(picture.image, sheet.side);
    fill_rect(out, row, column, sheet.side, sheet.side, kBacking);
    paste_image(out, fitted, row + (sheet.side - fitted.rows) / 2,
                column + (sheet.side - fitted.columns) / 2);
    std::int64_t line_row = row + sheet.side + 3;
    for (const SheetLine& line : picture.lines) {
      draw_text(out, line_row, column, fit_text(line.text, sheet.side, line.scale),
                {.colour = line.colour, .scale = line.scale});
      line_row += sheet_line_rows(line.scale);
    }
  }
  return out;
}

}  // namespace locant
