#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "io/skipped_picture.h"
#include "models/sam.h"

namespace locant {

/// Fine-tunes a mask decoder on pictures and masks (segment/segment_data.h). The image encoder and the prompt
/// encoder stay as they are; each picture is encoded once, and its embedding kept in a cache.
struct FineTuneOptions {
  std::string data;                 ///< folder with images/ and masks/
  std::string init;                 ///< checkpoint of Segment Anything to start from
  std::string out;                  ///< folder for sam.safetensors and train.log.jsonl
  std::string embeddings;           ///< folder of the cache; empty: OUT/embeddings
  std::string model;                ///< variant; empty: told by the checkpoint
  std::string key;                  ///< what stands before its names in the checkpoint; empty: it tells
  std::vector<std::string> ignore;  ///< glob patterns of tensors in it that are left out
  std::int64_t image_size = 0;      ///< side of the encoder's square, a multiple of 16; 0: the checkpoint's
  std::int64_t epochs = 10;
  std::int64_t batch = 8;  ///< objects a step
  double lr = 1e-4, min_lr = 0.0, weight_decay = 0.01, clip = 1.0;
  double warmup_epochs = 0.5;
  double val_split = 0.1;  ///< part of the pictures held out
  std::uint64_t seed = 1;
  bool force = false;   ///< replace a run in `out`
  bool strict = false;  ///< the first picture that cannot be used is an Error; else it is left out
};

struct FineTuneProgress {
  enum class Phase { encode, train } phase = Phase::train;
  std::int64_t done = 0, total = 0;  ///< pictures, or steps
  double loss = 0.0;                 ///< of the last step
};

struct FineTuneCallbacks {
  std::function<void(const FineTuneProgress&)> progress = {};
  std::function<void(const std::string&)> line = {};        ///< for people
  std::function<bool()> stop = {};                          ///< true: save and end
  std::function<void(const SkippedPicture&)> skipped = {};  ///< a picture that is left out, before training
};

struct FineTuneResult {
  bool finished = false;
  std::int64_t steps = 0;
  /// Mean intersection over union of held-out objects at low resolution, from a point in the middle and from
  /// the box; below 0: nothing was held out.
  double point_iou_before = -1.0, box_iou_before = -1.0, point_iou = -1.0, box_iou = -1.0;
  std::int64_t skipped = 0;  ///< pictures that were left out
};

/// Loss a step: 20 focal + dice of the best of three masks for points, of the single mask for boxes, plus the
/// squared error of its predicted IoU (Kirillov et al. 2023, appendix A). The best weights by held-out IoU
/// (the last where nothing is held out) are written under the official names, whole file, atomically. The
/// log: {"kind": "skip", picture, reason} for each picture left out, {epoch, loss, val_point_iou,
/// val_box_iou} after each epoch. Equal options, seed and threads give equal bits. Throws Error: bad options
/// or data, a run already in `out`, a loss that is not finite, a file that cannot be written.
FineTuneResult fine_tune(const FineTuneOptions& options, const FineTuneCallbacks& callbacks = {});

}  // namespace locant
