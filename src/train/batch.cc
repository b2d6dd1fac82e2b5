#include "train/batch.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <optional>
#include <string>
#include <utility>

#include "core/error.h"
#include "core/parallel.h"
#include "io/pil_ops.h"
#include "io/pil_resize.h"
#include "train/color_jitter.h"
#include "train/mixup.h"
#include "train/rand_augment.h"
#include "train/random_crop.h"
#include "train/random_erasing.h"
#include "train/random_streams.h"

namespace locant {
namespace {

void normalise(const Preprocess& form, float* picture) {
  const std::int64_t plane = form.rows * form.columns;
  for (std::int64_t c = 0; c < form.channels; ++c)
    for (float* x = picture + c * plane; x != picture + (c + 1) * plane; ++x)
      *x = static_cast<float>(form.normalised(static_cast<double>(*x), c));
}

/// `fill(i, planes, picture)` writes picture i of the batch before its normalisation, with room for planes;
/// `finish(i, picture)` has it after that.
template <class Fill, class Finish>
Tensor batch_of(std::int64_t batch, const Preprocess& form, const Fill& fill, const Finish& finish) {
  const std::int64_t size = form.channels * form.rows * form.columns;
  Tensor out({batch, form.channels, form.rows, form.columns});
  parallel_for(batch, 1, [&](std::int64_t begin, std::int64_t end) {
    std::vector<std::uint8_t> planes(static_cast<std::size_t>(size));
    for (std::int64_t i = begin; i < end; ++i) {
      float* picture = out.data() + i * size;
      fill(i, planes.data(), picture);
      normalise(form, picture);
      finish(i, picture);
    }
  });
  return out;
}

Image image_of(const std::uint8_t* planes, const Preprocess& form) {
  const std::int64_t plane = form.rows * form.columns;
  Image image{form.rows, form.columns, std::vector<std::uint8_t>(static_cast<std::size_t>(3 * plane))};
  for (std::int64_t i = 0; i < 3 * plane; ++i)
    image.rgb[static_cast<std::size_t>(i)] = planes[(form.channels == 1 ? 0 : i % 3 * plane) + i / 3];
  return image;
}

void planes_of(const Image& image, std::int64_t channels, std::uint8_t* planes) {
  const std::int64_t plane = image.rows * image.columns;
  for (std::int64_t c = 0; c < channels; ++c)
    for (std::int64_t i = 0; i < plane; ++i)
      planes[c * plane + i] = image.rgb[static_cast<std::size_t>(3 * i + c)];
}

/// The byte that becomes 0, as timm fills: round(255 mean).
Colour mean_colour(const Preprocess& form) {
  Colour out{};
  for (std::size_t c = 0; c < out.size(); ++c) {
    // The mean as people write it: 255 times the float next to it may lie on the other side of a half.
    const std::string text = fmt::format("{}", form.mean[form.channels == 1 ? 0 : c]);
    double mean = 0.0;
    std::from_chars(text.data(), text.data() + text.size(), mean);
    const double value =
        form.rescale == 1.0 / 255 ? (mean + form.offset) * 255.0 : (mean + form.offset) / form.rescale;
    out[c] = static_cast<std::uint8_t>(std::llrint(std::clamp(value, 0.0, 255.0)));
  }
  return out;
}

/// What AugmentOptions say of pictures of one form.
class Augmentation {
 public:
  Augmentation(const Preprocess& form, const AugmentOptions& options, std::uint64_t seed, std::int64_t epoch)
      : form_(form), options_(options), seed_(seed), epoch_(static_cast<std::uint64_t>(epoch)) {
    options.check();
    erase_mode_ = parse_erase_mode(options.remode);
    if (!options.changes_picture()) return;
    require(
        form.channels == 1 || form.channels == 3, "augment",
        "pictures of {} channels can be shifted, turned, zoomed, erased and mixed alone: crops, flips and "
        "colours take 1 or 3",
        form.channels);
    if (!options.aa.empty()) rand_augment_ = parse_rand_augment(options.aa);
    if (options.train_interpolation.empty())
      crop_filter_ = form.filter;
    else if (options.train_interpolation != "random")
      crop_filter_ = parse_resize_filter(options.train_interpolation);
    // A turn takes no wider filter than that.
    if (crop_filter_)
      turn_filter_ = *crop_filter_ == ResizeFilter::bilinear ? ResizeFilter::bilinear : ResizeFilter::bicubic;
    fill_ = mean_colour(form);
  }

  /// Before normalisation: (channels, rows, columns) of 0 to 255. `planes` has room for it.
  void picture(const Dataset& data, std::int64_t row, std::uint8_t* planes, float* out) const {
    if (!options_.scale.empty()) {
      planes_of(changed(cropped(data.picture(row), row), row), form_.channels, planes);
    } else {
      data.read(row, planes);
      if (options_.changes_picture())
        planes_of(changed(image_of(planes, form_), row), form_.channels, planes);
    }
    if (options_.moves()) {
      Rng rng = stream(RandomPurpose::augment, row);
      transform_planes(planes, form_.channels, form_.rows, form_.columns, draw_geometry(options_, rng), out);
    } else {
      std::copy_n(planes, form_.channels * form_.rows * form_.columns, out);
    }
  }
  /// After it.
  void erase(std::int64_t row, float* picture) const {
    if (options_.reprob == 0.0) return;
    Rng rng = stream(RandomPurpose::erase, row);
    random_erasing(picture, form_.channels, form_.rows, form_.columns, options_.reprob, erase_mode_,
                   options_.recount, rng);
  }

 private:
  Rng stream(RandomPurpose purpose, std::int64_t row) const {
    return random_stream(seed_, purpose, epoch_, static_cast<std::uint64_t>(row));
  }
  Image cropped(Image image, std::int64_t row) const {
    Rng rng = stream(RandomPurpose::crop, row);
    image = pil_crop(image, draw_crop(image.rows, image.columns, options_.scale, options_.ratio, rng));
    if (form_.channels == 1) image = pil_grey(std::move(image));
    const ResizeFilter drawn = happens(rng, 0.5) ? ResizeFilter::bicubic : ResizeFilter::bilinear;
    return pil_resize(image, form_.columns, form_.rows, crop_filter_.value_or(drawn));
  }
  Image changed(Image image, std::int64_t row) const {
    Rng flips = stream(RandomPurpose::flip, row);
    if (happens(flips, options_.hflip)) image = pil_mirror(std::move(image));
    if (happens(flips, options_.vflip)) image = pil_flip(std::move(image));
    if (rand_augment_) {
      Rng rng = stream(RandomPurpose::rand_augment, row);
      return rand_augment(std::move(image), *rand_augment_, turn_filter_, fill_, rng);
    }
    if (options_.color_jitter == 0.0) return image;
    Rng rng = stream(RandomPurpose::color_jitter, row);
    return color_jitter(std::move(image), options_.color_jitter, rng);
  }

  const Preprocess& form_;
  const AugmentOptions& options_;
  std::uint64_t seed_, epoch_;
  EraseMode erase_mode_ = EraseMode::pixel;
  std::optional<RandAugment> rand_augment_;
  std::optional<ResizeFilter> crop_filter_, turn_filter_;  // none: drawn
  Colour fill_{};
};

/// The byte of a normalised value.
std::uint8_t byte_of(float value, const Preprocess& form, std::size_t channel) {
  const double unit = static_cast<double>(value) * static_cast<double>(form.std[channel]) +
                      static_cast<double>(form.mean[channel]);
  return static_cast<std::uint8_t>(std::llrint(std::clamp((unit + form.offset) / form.rescale, 0.0, 255.0)));
}

}  // namespace

Tensor load_batch(const Dataset& data, const std::vector<std::int64_t>& rows, const Preprocess& form,
                  const std::function<Geometry(std::int64_t)>& geometry) {
  const auto fill = [&](std::int64_t i, std::uint8_t* planes, float* picture) {
    data.read(rows[static_cast<std::size_t>(i)], planes);
    if (geometry)
      transform_planes(planes, form.channels, form.rows, form.columns, geometry(i), picture);
    else
      std::copy_n(planes, form.channels * form.rows * form.columns, picture);
  };
  return batch_of(static_cast<std::int64_t>(rows.size()), form, fill, [](std::int64_t, float*) {});
}

Tensor load_training_batch(const Dataset& data, const std::vector<std::int64_t>& rows, const Preprocess& form,
                           const AugmentOptions& options, std::uint64_t seed, std::int64_t epoch) {
  const Augmentation augmentation(form, options, seed, epoch);
  const auto row = [&](std::int64_t i) { return rows[static_cast<std::size_t>(i)]; };
  return batch_of(
      static_cast<std::int64_t>(rows.size()), form,
      [&](std::int64_t i, std::uint8_t* planes, float* picture) {
        augmentation.picture(data, row(i), planes, picture);
      },
      [&](std::int64_t i, float* picture) { augmentation.erase(row(i), picture); });
}

ClassTargets mix_batch(Tensor& pictures, const std::vector<std::int64_t>& labels,
                       const AugmentOptions& options, std::uint64_t seed, std::int64_t step) {
  options.check();
  require(pictures.shape().rank() == 4 && pictures.dim(0) == static_cast<std::int64_t>(labels.size()),
          "augment", "{} labels for pictures of shape {}", labels.size(), pictures.shape().str());
  ClassTargets targets{.labels = labels};
  if (!options.mixes()) return targets;
  Rng rng = random_stream(seed, RandomPurpose::mix, static_cast<std::uint64_t>(step));
  const std::vector<Mix> mixes = draw_mixes(pictures.dim(0), pictures.dim(2), pictures.dim(3), options, rng);
  if (std::all_of(mixes.begin(), mixes.end(), [](const Mix& mix) { return mix.share == 1.0; }))
    return targets;
  apply_mixes(pictures, mixes);
  targets.others.assign(labels.rbegin(), labels.rend());
  for (const Mix& mix : mixes) targets.shares.push_back(static_cast<float>(mix.share));
  return targets;
}

Image augmented_sheet(const Dataset& data, const std::vector<std::int64_t>& rows, const Preprocess& form,
                      const AugmentOptions& options, std::uint64_t seed, std::int64_t variants) {
  constexpr std::int64_t kGap = 2, kMaxPixels = 1 << 26;
  const auto lines = static_cast<std::int64_t>(rows.size());
  require(lines >= 1 && variants >= 0, "augment", "a sheet of {} pictures in {} variants", lines, variants);
  const std::int64_t line = form.rows + kGap, column = form.columns + kGap;
  require(variants < kMaxPixels / column && lines <= kMaxPixels / (line * column * (variants + 1)), "augment",
          "a sheet of {} pictures in {} variants of {} x {} pixels has more than {} pixels", lines, variants,
          form.columns, form.rows, kMaxPixels);
  Image sheet{lines * line - kGap, (variants + 1) * column - kGap, {}};
  sheet.rgb.assign(static_cast<std::size_t>(3 * sheet.rows * sheet.columns), 255);
  const std::int64_t plane = form.rows * form.columns;
  const auto paste = [&](const Tensor& batch, std::int64_t at) {
    for (std::int64_t i = 0; i < lines; ++i)
      for (std::int64_t p = 0; p < plane; ++p) {
        const std::int64_t y = i * line + p / form.columns, x = at * column + p % form.columns;
        for (std::int64_t c = 0; c < 3; ++c) {
          const std::int64_t channel = std::min(c, form.channels - 1);
          sheet.rgb[static_cast<std::size_t>(3 * (y * sheet.columns + x) + c)] = byte_of(
              batch[(i * form.channels + channel) * plane + p], form, static_cast<std::size_t>(channel));
        }
      }
  };
  paste(load_batch(data, rows, form), 0);
  for (std::int64_t epoch = 0; epoch < variants; ++epoch) {
    Tensor batch = load_training_batch(data, rows, form, options, seed, epoch);
    mix_batch(batch, std::vector<std::int64_t>(rows.size()), options, seed, epoch);
    paste(batch, epoch + 1);
  }
  return sheet;
}

}  // namespace locant
