#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "io/canvas.h"

namespace locant {

struct SheetLine {
  std::string text;
  Colour colour = {20, 20, 20};
  std::int64_t scale = 1;
};

struct SheetPicture {
  Image image;
  std::vector<SheetLine> lines = {};  ///< below it, each cut to the picture's side
};

struct ContactSheet {
  std::string title = {}, subtitle = {};
  std::vector<SheetPicture> pictures = {};
  std::int64_t across = 8;  ///< pictures a row
  std::int64_t side = 192;  ///< of the square that a picture is fitted into, pixels
};

/// As large as fits: whole multiples of small pictures, larger ones shrunk (bilinear). Throws Error for
/// `across` or `side` below 1 and as blank_image does.
Image fit_into(const Image& image, std::int64_t side);

/// Pictures in reading order, each centred in its square with its lines below, under a title; with no
/// picture the title alone.
Image paint_contact_sheet(const ContactSheet& sheet);

}  // namespace locant
