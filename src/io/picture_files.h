#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace locant {

/// Names in folders of pictures that nobody means: hidden ones (".x", and so macOS's "._x.jpg" and
/// ".ipynb_checkpoints"), "__MACOSX", "Thumbs.db" and "desktop.ini". `name` is one part of a path.
bool is_passed_over(std::string_view name);

/// What a folder holds under a picture's name (io/image.h, has_image_extension), sorted by path.
struct PictureFiles {
  std::vector<std::string> pictures;  ///< files and links; a dangling link too: reading it says so
  std::vector<std::string> others;    ///< FIFOs, devices and sockets: opening one could wait for ever
};
/// Folders inside it count only if `deep`; links to folders are not followed. Names that is_passed_over() are
/// left out, with all below them. Paths begin with `folder`. Throws Error ("[pictures]") when it or a folder
/// below cannot be read.
PictureFiles pictures_in(const std::string& folder, bool deep = false);

}  // namespace locant
