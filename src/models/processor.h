#pragma once

#include <string>
#include <vector>

#include "io/preprocess.h"

namespace locant {

/// What a folder of the hub says of its pictures, and one sentence for each thing that a user should know.
struct ProcessorResult {
  Preprocess preprocess;
  std::vector<std::string> notes = {};
};

/// transformers: the text of a preprocessor_config.json, or of a processor_config.json or its
/// "image_processor" object. A key that is absent has the default of the class that the file names, else of
/// the class that transformers 5.24 has for `model_type`, else of ViTImageProcessor; so has a key of null,
/// but a do_ key of null is false. `base.channels` is the model's; the rest of `base` is the answer for
/// classes whose models bring their own preprocessing (SAM), and its rows and columns are the size where the
/// file neither resizes nor crops. The rules are those of the ...Pil classes. Throws Error that names the key
/// for wrong types, numbers out of range, and what Preprocess cannot say.
ProcessorResult processor_from_json(const std::string& text, const std::string& model_type,
                                    const Preprocess& base);

/// timm: the text of a config.json with "pretrained_cfg", of that object alone, or of the flat file from
/// before 2023. An absent key is timm's own default, input_size `base`'s; a text without any key of pictures
/// is `base`. Throws Error as above.
ProcessorResult processor_from_timm(const std::string& pretrained_cfg, const Preprocess& base);

/// A preprocessor_config.json that processor_from_json reads as the same: every do_ key is written.
/// `image_processor_type` as in "BitImageProcessor". Throws Error where that class cannot say it, with what
/// differs: transformers crops at CropOrigin::floor alone.
std::string processor_to_json(const Preprocess& preprocess, const std::string& image_processor_type);

/// The keys of timm's pretrained_cfg that say the same: input_size, interpolation, crop_pct, crop_mode, mean,
/// std. Throws Error where it cannot be said: timm crops at CropOrigin::round_half_even alone.
std::string processor_to_timm(const Preprocess& preprocess);

}  // namespace locant
