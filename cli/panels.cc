#include "cli/panels.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <span>

#include "cli/cli.h"
#include "cli/weights_options.h"
#include "core/error.h"
#include "core/finite.h"
#include "io/pil_resize.h"
#include "io/preprocess.h"
#include "models/principal_components.h"
#include "models/sam.h"
#include "segment/transforms.h"

namespace locant::cli {

namespace {

using Json = nlohmann::ordered_json;

constexpr std::int64_t kPanelGap = 8;           // pixels between panels
constexpr std::int64_t kLargestSide = 1 << 13;  // pixels; attention is quadratic in the area

/// Sides of a patch from the model's configuration; 1 x 1 when it does not say.
std::array<std::int64_t, 2> patch_size(const Model& model) {
  const nlohmann::json config = nlohmann::json::parse(model.config());
  const auto found = config.find("patch_size");
  if (found == config.end()) return {1, 1};
  if (found->is_array()) return {found->at(0).get<std::int64_t>(), found->at(1).get<std::int64_t>()};
  return {found->get<std::int64_t>(), found->get<std::int64_t>()};
}

std::int64_t whole_patches(double side, std::int64_t patch) {
  return std::max<std::int64_t>(1, std::llround(side / static_cast<double>(patch))) * patch;
}

/// `share` of the values lie at or below the result.
float percentile(std::vector<float> values, double share) {
  const auto at = static_cast<std::ptrdiff_t>(share * static_cast<double>(values.size() - 1));
  std::nth_element(values.begin(), values.begin() + at, values.end());
  return values[static_cast<std::size_t>(at)];
}

std::uint8_t to_byte(float value) {
  return static_cast<std::uint8_t>(std::lround(std::clamp(value, 0.0f, 1.0f) * 255.0f));
}

/// A patch grid of colours as a picture; each channel from its 1st to its 99th percentile.
using Range = std::array<float, 2>;
Image colour_grid(std::span<const float> values, std::int64_t rows, std::int64_t columns,
                  const std::array<Range, 3>& range) {
  Image grid{rows, columns, std::vector<std::uint8_t>(values.size())};
  for (std::size_t i = 0; i < values.size(); ++i) {
    const Range& r = range[i % 3];
    grid.rgb[i] = to_byte((values[i] - r[0]) / std::max(r[1] - r[0], 1e-12f));
  }
  return grid;
}

/// Black, violet, orange, yellow, white as t goes from 0 to 1.
std::array<float, 3> heat_colour(float t) {
  static constexpr float kStops[][3] = {
      {0, 0, 0}, {0.35f, 0.05f, 0.45f}, {0.9f, 0.3f, 0.15f}, {1, 0.8f, 0.1f}, {1, 1, 0.85f}};
  const float scaled = std::clamp(t, 0.0f, 1.0f) * 4.0f;
  const int stop = std::min(static_cast<int>(scaled), 3);
  const float rest = scaled - static_cast<float>(stop);
  std::array<float, 3> colour{};
  for (int c = 0; c < 3; ++c)
    colour[static_cast<std::size_t>(c)] = kStops[stop][c] + rest * (kStops[stop + 1][c] - kStops[stop][c]);
  return colour;
}

Image heat_over_photo(const Image& photo, const Tensor& attention) {
  const std::int64_t H = attention.dim(0), N = attention.numel() / H;
  std::vector<float> mean(static_cast<std::size_t>(N), 0.0f);
  for (std::int64_t h = 0; h < H; ++h)
    for (std::int64_t n = 0; n < N; ++n)
      mean[static_cast<std::size_t>(n)] += attention[h * N + n] / static_cast<float>(H);
  const Range range = {0.0f, percentile(mean, 0.99)};
  std::vector<float> grey;
  for (const float value : mean) grey.insert(grey.end(), 3, value);
  const Image heat = pil_resize(colour_grid(grey, attention.dim(1), attention.dim(2), {range, range, range}),
                                photo.columns, photo.rows, ResizeFilter::bilinear);
  Image result = photo;
  for (std::size_t i = 0; i < photo.rgb.size(); i += 3) {
    const float t = static_cast<float>(heat.rgb[i]) / 255.0f;
    const float luma =
        (0.299f * photo.rgb[i] + 0.587f * photo.rgb[i + 1] + 0.114f * photo.rgb[i + 2]) / 255.0f;
    const std::array<float, 3> colour = heat_colour(t);
    for (std::size_t c = 0; c < 3; ++c) result.rgb[i + c] = to_byte(0.6f * luma * (1.0f - t) + colour[c] * t);
  }
  return result;
}

void paste(Image& canvas, const Image& part, std::int64_t row, std::int64_t column) {
  for (std::int64_t y = 0; y < part.rows; ++y)
    std::copy_n(part.rgb.data() + y * part.columns * 3, part.columns * 3,
                canvas.rgb.data() + ((row + y) * canvas.columns + column) * 3);
}

/// As `embed` has it: the long side at the model's size, zeros right and below.
Tensor longest_side_input(const Sam& sam, const Preprocess& options, const Image& picture,
                          PictureFeatures& result) {
  SamNormalisation normalisation;
  for (std::size_t c = 0; c < 3; ++c) {
    normalisation.mean[c] = static_cast<float>(options.mean.at(c) * 255.0);
    normalisation.std[c] = static_cast<float>(options.std.at(c) * 255.0);
  }
  result.photo = ResizeLongestSide(sam.image_size()).apply_image(picture);
  return sam_input(result.photo, sam.image_size(), normalisation);
}

/// Both sides whole patches.
Tensor short_side_input(const LoadedModel& loaded, const Image& picture, const std::string& path,
                        std::int64_t short_side, PictureFeatures& result) {
  const auto patch = patch_size(*loaded.model);
  const double scale =
      static_cast<double>(short_side) / static_cast<double>(std::min(picture.rows, picture.columns));
  Preprocess options = loaded.preprocess;
  options.mode = Preprocess::Mode::squash;
  options.squash_rows = options.squash_columns = 0;
  options.rows = whole_patches(static_cast<double>(picture.rows) * scale, patch[0]);
  options.columns = whole_patches(static_cast<double>(picture.columns) * scale, patch[1]);
  require(std::max(options.rows, options.columns) <= kLargestSide, "features",
          "{} of {} x {} pixels would be {} x {}; the longest side may have {}: give a smaller --img-size",
          path, picture.columns, picture.rows, options.columns, options.rows, kLargestSide);
  result.photo = pil_resize(picture, options.columns, options.rows, options.filter);
  Json said = Json::parse(options.to_json());
  for (const char* key : {"rows", "columns", "crop_pct", "resize_to"}) said.erase(key);  // of each picture
  said["short_side"] = short_side;
  result.preprocessing = said.dump();
  return preprocess(picture, options).reshaped({1, options.channels, options.rows, options.columns});
}

/// As the model's library evaluates it.
Tensor own_input(const Preprocess& options, const Image& picture, PictureFeatures& result) {
  const std::int64_t pixels = options.rows * options.columns, channels = options.channels;
  Tensor input = preprocess(picture, options).reshaped({1, channels, options.rows, options.columns});
  std::vector<std::uint8_t> planes(static_cast<std::size_t>(channels * pixels));
  preprocess_bytes(picture, options, planes.data());
  result.photo = {options.rows, options.columns,
                  std::vector<std::uint8_t>(static_cast<std::size_t>(3 * pixels))};
  for (std::int64_t n = 0; n < 3 * pixels; ++n)
    result.photo.rgb[static_cast<std::size_t>(n)] =
        planes[static_cast<std::size_t>(std::min(n % 3, channels - 1) * pixels + n / 3)];
  return input;
}

/// Tokens of a level (1, frames * rows * columns, C) as a map.
Tensor map_of(const Features::Level& level) {
  const auto& [tokens, grid, stride] = level;
  const std::int64_t C = tokens.dim(2);
  return grid.frames > 1 ? tokens.value().reshaped({grid.frames, grid.rows, grid.columns, C})
                         : tokens.value().reshaped({grid.rows, grid.columns, C});
}

void take(const Features& features, const std::string& path, PictureFeatures& result) {
  const Grid& grid = features.last().grid;
  result.cls = features.cls.value().reshaped({features.cls.dim(1)});
  result.patches = map_of(features.last());
  if (features.levels.size() > 1)
    for (const Features::Level& level : features.levels) {
      result.stages.push_back(map_of(level));
      result.strides.push_back(level.stride);
    }
  if (features.attention.defined())
    result.attention = features.attention.reshaped({features.attention.dim(1), grid.rows, grid.columns});
  std::vector<Tensor> all = result.stages;
  all.insert(all.end(), {result.cls, result.patches, result.attention});
  for (const Tensor& numbers : all) {
    const std::string bad = numbers.defined() ? not_finite(numbers) : "";
    require(bad.empty(), "features", "{}: what the model makes of it holds {}", path, bad);
  }
}

/// Keeps the patches that hold a pixel of the photo, and their mean.
void cut_padding(PictureFeatures& result, std::int64_t stride) {
  const Tensor& all = result.patches;
  const std::int64_t rows = (result.photo.rows + stride - 1) / stride,
                     columns = (result.photo.columns + stride - 1) / stride, C = all.dim(2);
  Tensor kept({rows, columns, C});
  for (std::int64_t y = 0; y < rows; ++y)
    std::copy_n(all.data() + y * all.dim(1) * C, columns * C, kept.data() + y * columns * C);
  result.patches = kept;
  result.cls = Tensor({C});
  for (std::int64_t c = 0; c < C; ++c) {
    double sum = 0.0;
    for (std::int64_t n = 0; n < rows * columns; ++n) sum += kept[n * C + c];
    result.cls[c] = static_cast<float>(sum / static_cast<double>(rows * columns));
  }
}

}  // namespace

std::string picture_name(const std::string& path) {
  return path == "-" ? "stdin" : std::filesystem::path(path).stem().string();
}

PictureFeatures picture_features(const LoadedModel& loaded, const Image& picture, const std::string& path,
                                 std::int64_t short_side) {
  Stopwatch watch;
  PictureFeatures result;
  result.name = printable(picture_name(path));  // a tensor's name is UTF-8
  result.rows = picture.rows;
  result.columns = picture.columns;
  result.preprocessing = preprocessing_json(loaded);
  const auto* sam = dynamic_cast<const Sam*>(loaded.model.get());
  const Tensor input = sam != nullptr   ? longest_side_input(*sam, loaded.preprocess, picture, result)
                       : short_side > 0 ? short_side_input(loaded, picture, path, short_side, result)
                                        : own_input(loaded.preprocess, picture, result);
  result.preprocess_s = watch.seconds();
  watch.restart();
  const Features features = loaded.model->features(Context{}, Var(input));
  result.inference_s = watch.seconds();
  take(features, path, result);
  if (sam != nullptr) cut_padding(result, features.last().stride);
  return result;
}

PictureFeatures clip_features(const LoadedModel& loaded, const std::vector<Image>& frames,
                              const std::string& path) {
  require(loaded.model->inputs().front().name == "clips", "features",
          "{} sees pictures, not clips; leave --clip out", loaded.name);
  require(!frames.empty(), "features", "{}: there is no frame", path);
  Stopwatch watch;
  const Preprocess& options = loaded.preprocess;
  const auto F = static_cast<std::int64_t>(frames.size()), C = std::int64_t{options.channels};
  const std::int64_t pixels = options.rows * options.columns;
  Tensor clip({1, C, F, options.rows, options.columns});
  for (std::int64_t f = 0; f < F; ++f) {
    const Tensor frame = preprocess(frames[static_cast<std::size_t>(f)], options);
    for (std::int64_t c = 0; c < C; ++c)
      std::copy_n(frame.data() + c * pixels, pixels, clip.data() + (c * F + f) * pixels);
  }
  PictureFeatures result;
  result.name = printable(picture_name(path));
  result.rows = frames.front().rows;
  result.columns = frames.front().columns;
  result.photo = frames.front();
  result.preprocessing = preprocessing_json(loaded);
  result.preprocess_s = watch.seconds();
  watch.restart();
  const Features features = loaded.model->features(Context{}, Var(clip));
  result.inference_s = watch.seconds();
  take(features, path, result);
  return result;
}

Image feature_panels(const std::vector<PictureFeatures>& pictures) {
  require(!pictures.empty(), "features", "no picture was given");
  std::vector<Tensor> patches;
  for (const PictureFeatures& picture : pictures) patches.push_back(picture.patches);
  const PrincipalComponents principal = principal_components(patches, 3);
  std::vector<Tensor> projected;
  std::array<std::vector<float>, 3> channels;
  std::int64_t rows = -kPanelGap, columns = 0;
  for (const PictureFeatures& picture : pictures) {
    projected.push_back(project(principal, picture.patches));
    for (std::int64_t i = 0; i < projected.back().numel(); ++i)
      channels[static_cast<std::size_t>(i % 3)].push_back(projected.back()[i]);
    const std::int64_t panels = picture.attention.defined() ? 3 : 2;
    rows += picture.photo.rows + kPanelGap;
    columns = std::max(columns, panels * picture.photo.columns + (panels - 1) * kPanelGap);
  }
  std::array<Range, 3> range{};
  for (std::size_t c = 0; c < 3; ++c)
    range[c] = {percentile(channels[c], 0.01), percentile(channels[c], 0.99)};

  Image canvas{rows, columns, std::vector<std::uint8_t>(static_cast<std::size_t>(rows * columns * 3), 255)};
  std::int64_t top = 0;
  for (std::size_t p = 0; p < pictures.size(); ++p) {
    const PictureFeatures& picture = pictures[p];
    const std::int64_t step = picture.photo.columns + kPanelGap;
    paste(canvas, picture.photo, top, 0);
    const Image colours = colour_grid(std::as_const(projected[p]).values(), picture.patches.dim(0),
                                      picture.patches.dim(1), range);
    paste(canvas, pil_resize(colours, picture.photo.columns, picture.photo.rows, ResizeFilter::bilinear), top,
          step);
    if (picture.attention.defined())
      paste(canvas, heat_over_photo(picture.photo, picture.attention), top, 2 * step);
    top += picture.photo.rows + kPanelGap;
  }
  return canvas;
}

}  // namespace locant::cli
