#pragma once

#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "io/image.h"
#include "io/preprocess.h"
#include "io/skipped_picture.h"
#include "train/dataset.h"
#include "train/evaluate.h"
#include "train/temperature.h"

namespace locant {

/// The numbers of an epoch line of a run's log, by key: "epoch", "loss", "val_accuracy", "lr", ...
using EpochLine = std::map<std::string, double>;
/// Those of a train.log.jsonl, in order; other lines and keys that hold no number are passed over. Throws
/// Error when the file cannot be read.
std::vector<EpochLine> read_epoch_lines(const std::string& path);

/// A picture of one side of a split.
struct SplitFile {
  std::string side;  ///< "train", "val", ...
  std::string path;  ///< "#12": number 12 of those that have no file of their own
  std::string label;
  std::string sha256;  ///< of the file; of the 8-bit planes that a model sees where there is no file
};
/// Every picture of a side. Reads every file once. Throws Error when one cannot be read.
std::vector<SplitFile> split_files(const std::string& side, const Dataset& data,
                                   const std::vector<std::string>& classes, const Preprocess& form);
/// SHA-256 of a regular file, empty ones too. Throws Error.
std::string sha256_of_file(const std::string& path);
/// SHA-256 of the lines "SHA256  PATH\n" of the files, sorted: what `sha256sum FILES | sort | sha256sum`
/// says.
std::string pictures_digest(const std::vector<SplitFile>& files);

/// A picture as a model sees it: planes (channels, rows, columns) of 1 or 3 channels. Throws Error for
/// others.
Image image_of_planes(const std::vector<std::uint8_t>& planes, const Preprocess& form);

/// A model's answers for some pictures.
struct EvaluatedPart {
  std::string name;  ///< folder for its files below the report's ("val", "test"); empty: the report's own
  Evaluation evaluation;
  std::vector<std::string> paths;  ///< of each picture
  /// What stands on the sheet of wrong pictures for a row of `evaluation`; one that throws Error is left
  /// grey.
  std::function<Image(std::int64_t)> picture = {};
};

/// A part whose paths ("#12" where there is none) and pictures are a dataset's. Throws Error when it has
/// another number of pictures.
EvaluatedPart evaluated_part(const std::string& name, Evaluation evaluation,
                             std::shared_ptr<const Dataset> data, const Preprocess& form);

/// Everything that a run or an evaluation says of itself. What is empty is left out.
struct RunReport {
  std::string title;                 ///< stands on the pictures: "swin_tiny, photos/test"
  std::vector<std::string> command;  ///< the words of the command line
  /// Fields for report.json, a JSON object: options, checkpoint with its hash, preprocessing, seconds.
  std::string facts = "{}";
  std::vector<std::string> classes;  ///< names by index
  std::vector<EpochLine> epochs;
  std::vector<EvaluatedPart> parts;
  std::vector<SplitFile> split;
  std::vector<SkippedPicture> left_out;
  double temperature =
      1.0;  ///< that the logits were divided by, or are to be: probabilities and loss are of it
  std::optional<Calibration> calibration;  ///< for information
};

/// report.json as text: the report's command, Locant's version, compiler, instruction set and threads, the
/// facts, pictures of each side of the split with their digest, and of each part pictures, top1, top5 (where
/// there are more than five classes), loss, ece and classes. `indent` -1: one line.
std::string run_report_json(const RunReport& report, int indent = 2);

/// Writes into a folder that is there, each file whole or not at all, and gives their names in it:
///   report.json      run_report_json
///   curves.png       losses, accuracies and rates of the epochs
///   split.csv        side,path,label,sha256
/// and of each part, in the folder of its name:
///   confusion.csv    a row a label, a column a prediction; above 2,000 classes label,predicted,pictures
///   confusion.png    the same as a picture; above 200 classes the 50 that take part in most mistakes
///   per_class.csv    class,pictures,predicted,right,precision,recall,f1, worst first
///   predictions.csv  path,label,predicted,probability,top5
///   wrong.png        the wrong pictures (at most 80), most confident first, where `picture` is given
/// Throws Error when a file cannot be written.
std::vector<std::string> write_run_report(const std::string& folder, const RunReport& report);
/// The names that write_run_report would give, before there is anything to report but names.
std::vector<std::string> run_report_files(const RunReport& report);

/// The texts of the CSV files above.
std::string confusion_csv(const EvaluatedPart& part, const std::vector<std::string>& classes);
std::string per_class_csv(const EvaluatedPart& part, const std::vector<std::string>& classes);
std::string predictions_csv(const EvaluatedPart& part, const std::vector<std::string>& classes,
                            double temperature);
std::string split_csv(const std::vector<SplitFile>& split);
/// The pictures.
Image curves_picture(const std::vector<EpochLine>& epochs, const std::string& title);
Image confusion_picture(const EvaluatedPart& part, const std::vector<std::string>& classes,
                        const std::string& title);
Image wrong_picture_sheet(const EvaluatedPart& part, const std::vector<std::string>& classes,
                          double temperature, const std::string& title);

/// The name of a class; its number where it has none.
std::string class_name(const std::vector<std::string>& classes, std::int64_t index);

}  // namespace locant
