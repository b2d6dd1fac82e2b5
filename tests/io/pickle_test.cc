#include "io/pickle.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include "io/pth.h"
#include "tests/io/mutate.h"

namespace locant {
namespace pickle_test {

using pickle::Document;
using pickle::Kind;
using pickle::Value;
using testing::error_of;
using testing::raw;

/// The stream must outlive the document: both together.
struct Read {
  explicit Read(std::string stream) : text(std::move(stream)) {
    document = pickle::read(std::as_bytes(std::span(text)), "test");
  }
  const Value& root() const { return document[document.root]; }
  const Value& item(std::size_t i) const { return document[root().items.at(i)]; }
  std::string text;
  Document document;
};

std::string refusal(const std::string& stream) {
  return error_of([&] { pickle::read(std::as_bytes(std::span(stream)), "test", 100); });
}

TEST(Pickle, ReadsNumbers) {
  EXPECT_EQ(Read(raw("K\x07.")).root().integer, 7);
  EXPECT_EQ(Read(raw("M\x01\x02.")).root().integer, 513);
  EXPECT_EQ(Read(raw("J\xfe\xff\xff\xff.")).root().integer, -2);
  EXPECT_EQ(Read(raw("\x8a\x02\x00\xff.")).root().integer, -256);
  EXPECT_EQ(Read(raw("\x8a\x00.")).root().integer, 0);
  EXPECT_EQ(Read(raw("\x8b\x01\x00\x00\x00\x7f.")).root().integer, 127);
  EXPECT_EQ(Read("I-12\n.").root().integer, -12);
  EXPECT_EQ(Read("L34L\n.").root().integer, 34);
  EXPECT_EQ(Read("L123456789012345678901234567890L\n.").root().kind, Kind::big_integer);
  EXPECT_EQ(Read("I01\n.").root().kind, Kind::boolean);
  EXPECT_EQ(Read("F-2.5\n.").root().real, -2.5);
  EXPECT_EQ(Read(raw("G\x40\x09\x21\xfb\x54\x44\x2d\x18.")).root().real, 3.141592653589793);
  EXPECT_EQ(Read(raw("\x8a\x09\x01\x02\x03\x04\x05\x06\x07\x08\x09.")).root().text.size(), 9u);
}

TEST(Pickle, ReadsTextOfEveryProtocol) {
  for (const std::string& stream : {raw("S'abc'\n."), raw("Vabc\n."),
                                    raw("U\x03"
                                        "abc."),
                                    raw("T\x03\x00\x00\x00"
                                        "abc."),
                                    raw("X\x03\x00\x00\x00"
                                        "abc."),
                                    raw("\x8c\x03"
                                        "abc."),
                                    raw("\x8d\x03\x00\x00\x00\x00\x00\x00\x00"
                                        "abc.")}) {
    const Read read(stream);
    EXPECT_EQ(read.root().kind, Kind::string);
    EXPECT_EQ(read.root().text, "abc");
  }
  EXPECT_EQ(Read(raw("C\x01x.")).root().kind, Kind::bytes);
}

TEST(Pickle, BuildsContainers) {
  const Read list(
      "](K\x01K\x02"
      "eK\x03"
      "a.");
  ASSERT_EQ(list.root().items.size(), 3u);
  EXPECT_EQ(list.item(2).integer, 3);
  const Read dict("}(K\x01K\x02K\x03K\x04uK\x05K\x06s.");
  EXPECT_EQ(dict.root().kind, Kind::dict);
  ASSERT_EQ(dict.root().items.size(), 6u);
  EXPECT_EQ(dict.item(5).integer, 6);
  EXPECT_EQ(Read("(K\x01K\x02t.").root().items.size(), 2u);
  EXPECT_EQ(Read("(K\x01K\x02l.").root().kind, Kind::list);
  EXPECT_EQ(Read("(K\x01K\x02"
                 "d.")
                .root()
                .kind,
            Kind::dict);
  EXPECT_EQ(Read("K\x01K\x02K\x03\x87.").item(0).integer, 1);
  EXPECT_EQ(Read("\x8f(K\x01\x90.").root().kind, Kind::set);
  EXPECT_EQ(Read("(K\x01\x91.").root().kind, Kind::set);
  EXPECT_EQ(Read(").").root().items.size(), 0u);
  EXPECT_EQ(Read("K\x01(K\x02"
                 "1NK\x03"
                 "0\x86.")
                .item(1)
                .kind,
            Kind::none)
      << "POP_MARK, POP";
}

TEST(Pickle, RemembersWhatTheMemoHolds) {
  EXPECT_EQ(Read("]q\x05"
                 "0h\x05.")
                .root()
                .kind,
            Kind::list);
  EXPECT_EQ(Read("K\x09\x94K\x08\x94h\x01\x86.").item(1).integer, 8);
  EXPECT_EQ(Read("K\x09p12\n0g12\n.").root().integer, 9);
  const Read cycle(
      "]q\x01h\x01"
      "a.");
  EXPECT_EQ(cycle.root().items.at(0), cycle.document.root) << "a list that holds itself";
}

TEST(Pickle, RunsNothing) {
  const Read call(
      raw("cos\nsystem\nX\x04\x00\x00\x00"
          "echo\x85R."));
  EXPECT_EQ(call.root().kind, Kind::call);
  EXPECT_EQ(call.item(0).kind, Kind::global);
  EXPECT_EQ(call.item(0).text, "os.system");
  EXPECT_EQ(Read(raw("\x8c\x02os\x8c\x06system\x93.")).root().text, "os.system");
  EXPECT_EQ(Read("cargparse\nNamespace\n)\x81}K\x01K\x02sb.").root().kind, Kind::call) << "NEWOBJ, BUILD";
  EXPECT_EQ(Read("(iargparse\nNamespace\n.").root().kind, Kind::call);
  EXPECT_EQ(Read("(cargparse\nNamespace\nK\x01o.").root().kind, Kind::call);
  EXPECT_EQ(Read("ca\nb\n)}\x92.").root().kind, Kind::call);
  EXPECT_EQ(Read("ca\nb\n)R(K\x01K\x02u(K\x01"
                 "eK\x01"
                 "a.")
                .root()
                .kind,
            Kind::call)
      << "subclass of dict or list";
  EXPECT_EQ(Read("K\x01Q.").root().kind, Kind::persistent);
  EXPECT_EQ(Read("\x82\x05.").root().text, "extension.5");
}

TEST(Pickle, TreatsOrderedDictsAsDicts) {
  const Read empty("ccollections\nOrderedDict\n)RK\x01K\x02s.");
  EXPECT_EQ(empty.root().kind, Kind::dict);
  EXPECT_EQ(empty.root().items.size(), 2u);
  const Read pairs(
      "ccollections\nOrderedDict\n](](K\x01K\x02"
      "e(K\x03K\x04te\x85R.");
  EXPECT_EQ(pairs.root().kind, Kind::dict);
  ASSERT_EQ(pairs.root().items.size(), 4u);
  EXPECT_EQ(pairs.item(2).integer, 3);
}

TEST(Pickle, SaysWhereAndWhy) {
  EXPECT_EQ(refusal("K\x01K\x02\xff"), "[pickle] test: byte 104: unknown opcode 0xff");
  EXPECT_NE(refusal("").find("byte 100: the stream ends"), std::string::npos);
  EXPECT_NE(refusal("K\x01").find("byte 102: the stream ends"), std::string::npos);
  EXPECT_NE(refusal(raw("X\xff\xff\xff\xff"
                        "abc."))
                .find("4 of the 4294967295 bytes"),
            std::string::npos);
  EXPECT_NE(refusal(".").find("empty stack"), std::string::npos);
  EXPECT_NE(refusal("K\x01(\x85.").find("empty stack"), std::string::npos) << "below the mark";
  EXPECT_NE(refusal("t.").find("no mark"), std::string::npos);
  EXPECT_NE(refusal("h\x01.").find("memo has no value 1"), std::string::npos);
  EXPECT_NE(refusal("K\x01r\xff\xff\xff\xff.").find("memo index 4294967295"), std::string::npos);
  EXPECT_NE(refusal("}(K\x01u.").find("key without a value"), std::string::npos);
  EXPECT_NE(refusal("K\x01K\x02"
                    "a.")
                .find("no container"),
            std::string::npos);
  EXPECT_NE(refusal("\x80\x09.").find("protocol 9"), std::string::npos);
  EXPECT_NE(refusal(raw("\x95\xff\xff\xff\xff\xff\xff\xff\x7f.")).find("a frame of"), std::string::npos);
  EXPECT_NE(refusal("Ix\n.").find("no whole number"), std::string::npos);
  EXPECT_NE(refusal(raw("c") + std::string(600, 'm') + "\nx\n.").find("class name of 602"),
            std::string::npos);
  EXPECT_NE(refusal("\x97.").find("NEXT_BUFFER"), std::string::npos);
}

TEST(Pickle, BoundsItsMemory) {
  EXPECT_NE(refusal(std::string(pickle::kMaxObjects + 10, ']')).find("more than 4194304 objects"),
            std::string::npos);
  EXPECT_NE(refusal(std::string(pickle::kMaxObjects + 10, '(')).find("more than 4194304 marks"),
            std::string::npos);
  EXPECT_NE(refusal(std::string(pickle::kMaxObjects + 10, 'N')).find("stack of more than"),
            std::string::npos);
  // Each REDUCE copies the list again.
  std::string stream = "ccollections\nOrderedDict\nq\x01](";
  for (int i = 0; i < 1000; ++i) stream += "K\x01K\x02\x86";
  stream += "e\x85q\x02";
  for (int i = 0; i < 1000; ++i) stream += "h\x01h\x02R";
  EXPECT_NE(refusal(stream + ".").find("again and again"), std::string::npos);
}

/// A zip-less way into the interpreter: the object of a file of the older form, without storages.
std::unique_ptr<TensorFile> parse_object(const std::string& object) {
  static std::string file;
  file = raw("\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19.\x80\x02M\xe9\x03.\x80\x02}.") +
         object + "\x80\x02].";
  return parse_pth(std::as_bytes(std::span(file)), "hostile.pth");
}

TEST(Pickle, HostileTreesEnd) {
  const auto error = [](const std::string& object) { return error_of([&] { parse_object(object); }); };
  // A dict in itself, a chain deeper than any stack, and a tree whose every level names the next one twice.
  EXPECT_NE(error("}q\x01K\x01h\x01s.").find("no tensors"), std::string::npos);
  std::string chain = std::string(100000, '}') + "K\x01Ns", twice = "}";
  for (int i = 0; i < 99999; ++i) chain += "p0\n0K\x01g0\ns";
  EXPECT_NE(error(chain + ".").find("nested more than 32 deep"), std::string::npos);
  for (int i = 0; i < 30; ++i)
    twice +=
        "q\x01"
        "0}K\x01h\x01sK\x02h\x01s";
  EXPECT_NE(error(twice + ".").find("no tensors"), std::string::npos);
  EXPECT_NE(error(raw("}X\x00\x08\x00\x00") + std::string(2048, 'n') + "K\x01s.")
                .find("longer than 1024 characters"),
            std::string::npos);
}

}  // namespace pickle_test
}  // namespace locant
