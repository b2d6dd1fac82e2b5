// locant demo: the bundled digits through the bundled model, then photographs through DINOv2 where its
// weights are.
#include <CLI/CLI.hpp>
#include <algorithm>
#include <filesystem>
#include <memory>
#include <optional>
#include <set>

#include "cli/cli.h"
#include "cli/outputs.h"
#include "cli/panels.h"
#include "cli/picture_list.h"
#include "core/error.h"
#include "models/classify.h"

namespace locant::cli {
namespace demo_command {
namespace {

namespace fs = std::filesystem;

constexpr const char* kPhotoWeights = "weights/dinov2_vits14.safetensors";

struct Options {
  std::string weights, photos;
  std::string output = "demo-output";
  std::int64_t img_size = 448;
};

double median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  return values[values.size() / 2];
}

void show_digits(const GlobalOptions& globals) {
  const std::string folder = require_bundled("digits");
  const PictureList list(globals, {folder});
  const std::string weights = require_bundled("digits/digits.safetensors");
  const Stopwatch load;
  const LoadedModel loaded = load_model(weights);
  const double load_s = load.seconds();
  out("Handwritten digits, classified by a {} that Locant trained ({}, loaded in {})\n\n", loaded.name,
      printable(weights), human_seconds(load_s));
  out("{:<10} {:>6} {:>12} {:>12} {:>12}\n", "picture", "answer", "probability", "preprocess", "inference");

  int right = 0;
  std::vector<double> inference;
  for (const ListedPicture& picture : list.pictures()) {
    const std::string& path = picture.path;
    Stopwatch watch;
    const Tensor input = preprocess_batch({read_image(path)}, loaded.preprocess);
    const double preprocess_s = watch.seconds();
    watch.restart();
    const Tensor logits = loaded.model->forward(Context{}, Var(input)).value();
    inference.push_back(watch.seconds());
    const ClassScore best = rank_classes(logits, loaded.classes, 1).front().top.front();
    const std::string name = fs::path(path).filename().string();
    // The files are named after the digit that they show: 7_b.png.
    const bool correct = name.substr(0, 1) == best.label;
    right += correct ? 1 : 0;
    out("{:<10} {:>6} {:>10.2f} % {:>12} {:>12}{}\n", name, best.label, best.probability * 100.0f,
        human_seconds(preprocess_s), human_seconds(inference.back()), correct ? "" : "  wrong");
  }
  out("\n{} of {} right, median inference {}\n", right, list.size(), human_seconds(median(inference)));
}

std::string find_photo_weights(const Options& options) {
  if (!options.weights.empty()) return options.weights;
  std::error_code code;
  return fs::exists(kPhotoWeights, code) ? kPhotoWeights : find_bundled(kPhotoWeights);
}

/// The photographs, and where the pictures of them go; both undefined where there are none.
struct Photos {
  std::string weights, folder;
  std::optional<PictureList> list;
  std::vector<std::string> files;
};

Photos find_photos(const Options& options, const GlobalOptions& globals) {
  Photos found{
      find_photo_weights(options), options.photos.empty() ? find_bundled("photos") : options.photos, {}, {}};
  if (found.weights.empty() || found.folder.empty()) return found;
  require(options.output != "-", "demo", "-o names a folder; a picture of each photograph goes there");
  found.list.emplace(globals, std::vector<std::string>{found.folder});
  std::error_code code;
  fs::create_directories(options.output, code);
  require(!code, "demo", "cannot make the folder {}: {}", options.output, code.message());
  Outputs outputs;
  std::set<std::string> used;
  for (const ListedPicture& photo : found.list->pictures()) {
    std::string name = picture_name(photo.path);
    for (int again = 2; !used.insert(name).second; ++again)
      name = fmt::format("{}_{}", picture_name(photo.path), again);
    found.files.push_back((fs::path(options.output) / name).string() + ".png");
    outputs.add("-o", found.files.back());
  }
  outputs.keep(found.weights);
  for (const ListedPicture& photo : found.list->pictures()) outputs.keep(photo.path);
  return found;
}

int show_photos(const Options& options, const GlobalOptions& globals, Photos& photos) {
  const std::string& weights = photos.weights;
  if (!photos.list) {
    out("\nPhotographs: left out, {}\n",
        weights.empty()
            ? fmt::format(
                  "there is no {}.\nscripts/fetch_weights dinov2_vits14 fetches it (it needs the network "
                  "and Python); then run this again.",
                  kPhotoWeights)
            : "there is no folder of them here; --photos names one.");
    return kOk;
  }
  const Stopwatch load;
  const LoadedModel loaded = load_model(weights);
  out("\nPhotographs, seen by {} ({}, loaded in {})\n\n", loaded.name, printable(weights),
      human_seconds(load.seconds()));
  for (const std::string& line : loaded.notes) write_note(globals, line);
  out("{:<14} {:>11} {:>9} {:>12} {:>12}  {}\n", "picture", "pixels", "patches", "preprocess", "inference",
      "written");
  for (std::size_t i = 0; i < photos.files.size(); ++i) {
    const ListedPicture& photo = photos.list->pictures()[i];
    const std::string &path = photo.path, &file = photos.files[i];
    PictureFeatures seen;
    const bool done = photos.list->attempt(
        photo, [&] { seen = picture_features(loaded, read_image(path), path, options.img_size); });
    if (photos.list->stopped()) break;
    if (!done) continue;
    write_png(file, feature_panels({seen}));
    out("{:<14} {:>11} {:>9} {:>12} {:>12}  {}\n", printable(fs::path(path).filename().string()),
        fmt::format("{} x {}", seen.photo.columns, seen.photo.rows),
        fmt::format("{} x {}", seen.patches.dim(1), seen.patches.dim(0)), human_seconds(seen.preprocess_s),
        human_seconds(seen.inference_s), printable(file));
    if (is_terminal(1)) flush_out();
  }
  out("\nEach file shows the photo, the first three principal components of its patch features as colours, "
      "and where the\n"
      "class token looks in the last layer.\n");
  return photos.list->finish();
}

int run(const Options& options, const GlobalOptions& globals) {
  banner(globals);
  Photos photos = find_photos(options, globals);
  show_digits(globals);
  flush_out();
  return show_photos(options, globals, photos);
}

}  // namespace
}  // namespace demo_command

void add_demo(CLI::App& app, GlobalOptions& globals) {
  auto options = std::make_shared<demo_command::Options>();
  CLI::App* sub =
      add_command(app, globals, "demo", "Classifies real digits, and shows what DINOv2 sees in photographs",
                  "locant demo\nlocant demo --photos my_pictures -o seen\n",
                  [options, &globals] { return run(*options, globals); });
  sub->add_option("--weights", options->weights,
                  fmt::format("Checkpoint for the photographs; without it {} where it exists",
                              demo_command::kPhotoWeights))
      ->type_name("FILE");
  sub->add_option("--photos", options->photos, "Folder of photographs; without it the bundled ones")
      ->type_name("FOLDER");
  sub->add_option("-o,--output", options->output, "Folder for the pictures of the photographs")
      ->type_name("FOLDER");
  sub->add_option("--img-size", options->img_size, "Short side of the photographs in pixels")
      ->type_name("N")
      ->check(CLI::Range(1, 8192));
}

}  // namespace locant::cli
