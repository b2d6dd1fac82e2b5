// locant embed: image embeddings ahead of prompts, one file a picture.
#include <CLI/CLI.hpp>
#include <memory>

#include "cli/embeddings.h"
#include "cli/train_report.h"
#include "core/error.h"
#include "segment/predictor.h"

namespace locant::cli {
namespace {

struct Options {
  EmbeddingOptions embedding;
  std::vector<std::string> pictures;
  bool json = false;
};

int run(const Options& o, const GlobalOptions& globals) {
  const std::vector<std::string> paths = expand_pictures(o.pictures);
  banner(globals);
  const EmbeddingCache cache = open_cache(o.embedding);
  const StopSignals signals;
  Progress progress(globals, "embed", static_cast<std::int64_t>(paths.size()));
  std::unique_ptr<Sam> sam;  // not before a picture needs it
  std::unique_ptr<SamPredictor> predictor;
  std::int64_t made = 0, there = 0, failed = 0, done = 0;
  for (const std::string& path : paths) {
    if (stop_requested()) break;
    progress.update(done++);
    try {
      const PictureFile picture = read_picture(path);
      const EmbeddingCache::Lookup found = cache.check(picture.key);
      const bool fresh = found.state == EmbeddingCache::State::fresh;
      if (found.state == EmbeddingCache::State::refused)
        progress.line(fmt::format("{}: made anew: {}", path, found.reason));
      if (!fresh) {
        if (sam == nullptr) {
          LoadedSam loaded = load_sam(o.embedding.weights, {.model = o.embedding.model,
                                                            .mode = WeightMode::inference,
                                                            .sam = {.image_size = o.embedding.image_size}});
          for (const std::string& line : loaded.notes) progress.line(line);
          sam = std::move(loaded.sam);
          predictor = std::make_unique<SamPredictor>(*sam);
        }
        predictor->set_image(picture.image);
        cache.store(picture.key, predictor->embedding());
      }
      ++(fresh ? there : made);
      if (o.json)
        out("{{\"picture\":{},\"embedding\":{},\"made\":{}}}\n", json_string(path),
            json_string(cache.path_of(picture.key)), !fresh);
    } catch (const Error& error) {
      // A picture that cannot be read must not cost the others; a model that cannot be is the end.
      if (sam == nullptr && made + there == 0 && paths.size() == 1) throw;
      ++failed;
      progress.finish();
      warn(fmt::format("{}: {}", path, error.what()));
      if (sam == nullptr && failed == 1)
        load_sam(o.embedding.weights, {.model = o.embedding.model, .mode = WeightMode::shapes, .sam = {}});
    }
  }
  progress.finish();
  if (!o.json) out("{} embedded, {} there already, {} not read\n", made, there, failed);
  if (stop_requested()) {
    warn("interrupted; what was made is kept, and the next run goes on from here");
    return kInterrupted;
  }
  return failed > 0 ? kUserError : kOk;
}

}  // namespace

void add_embed(CLI::App& app, GlobalOptions& globals) {
  auto options = std::make_shared<Options>();
  CLI::App* sub =
      add_command(app, globals, "embed", "Computes the image embeddings that `segment` answers prompts from",
                  "locant embed photos --weights sam_vit_b_01ec64.pth\n"
                  "locant embed photos --weights mobile_sam.pt --cache embeddings --json\n",
                  [options, &globals] { return run(*options, globals); });
  sub->add_option("PICTURE", options->pictures, "JPEG, PNG, WebP or PPM files, or folders of them")
      ->required();
  add_embedding_options(sub, options->embedding);
  sub->add_flag("--json", options->json, "One JSON object a picture");
}

}  // namespace locant::cli
