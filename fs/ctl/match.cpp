#include "fs/ctl/match.hpp"

#include <algorithm>
#include <cctype>
#include <nlohmann/json.hpp>

namespace proc9::ctl {
namespace {

using core::fail;
using core::Result;
using Kind = Parameter::Kind;
using Json = nlohmann::json;

std::string key_of(std::string_view name) {
    std::string key(name.substr(0, name.find('[')));  // SOFT[:HARD]
    std::transform(key.begin(), key.end(), key.begin(),
                   [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
    return key;
}

using Forms = std::span<const Command>;

// They stand together: the table is sorted.
Forms forms_of(std::string_view name) {
    const auto forms = std::ranges::equal_range(commands(), name, {}, &Command::name);
    return {forms.begin(), forms.end()};
}

core::Error unknown_command(std::string_view name) {
    std::vector<std::string_view> names;
    for (const auto& command : commands()) names.push_back(command.name);
    const auto near = core::nearest(name, names);
    return fail(std::errc::invalid_argument, "unknown command {}{}", core::requote(name),
                near.empty() ? "; `help` lists them"
                             : fmt::format("; did you mean {}?", core::requote(near)));
}

core::Error wrong_usage(Forms forms) {
    std::string text;
    for (const Command& form : forms) text += (text.empty() ? "" : ", or ") + usage(form);
    return fail(std::errc::invalid_argument, "usage: {}, such as {}", text,
                core::requote(forms.front().example));
}

// Reads words by the parameters of one form; says no when they do not fit.
class Reader {
public:
    Reader(const Command& form, core::Words words) : words_(std::move(words)) {
        for (const auto& parameter : form.parameters) {
            if (parameter.kind == Kind::assign) take_out(parameter.name);
        }
    }

    bool take(const Parameter& parameter) {
        switch (parameter.kind) {
            case Kind::none: return true;
            case Kind::word: return !done() && store(parameter.name);
            case Kind::literal: return is(parameter.name) && store_literal(parameter.name);
            case Kind::optional: return done() || store(parameter.name);
            case Kind::flag: return !is(parameter.name) || store(parameter.name);
            case Kind::keyword:
                return !is(parameter.name) ||
                       (store_literal(parameter.name) && !done() && store(parameter.name));
            case Kind::assign: return store_assignment(parameter.name);
            case Kind::rest:
                for (; !done(); ++at_) arguments.append(words_[at_]);
                return true;
        }
        return false;
    }
    [[nodiscard]] bool done() const { return at_ >= words_.size(); }

    Arguments arguments;

private:
    [[nodiscard]] bool is(std::string_view name) const { return !done() && words_[at_] == name; }
    bool skip() {
        ++at_;
        return true;
    }
    bool store_literal(std::string_view name) {
        arguments.set_literal(name);
        return skip();
    }
    bool store(std::string_view name) {
        arguments.set(key_of(name), words_[at_++]);
        return true;
    }
    // NAME=VALUE may stand anywhere; said twice, it is left over.
    void take_out(std::string_view name) {
        const auto is_it = [name](const std::string& word) {
            return word.size() > name.size() && word.starts_with(name) && word[name.size()] == '=';
        };
        const auto found = std::find_if(words_.begin() + 1, words_.end(), is_it);
        if (found == words_.end()) return;
        assigned_[name] = found->substr(name.size() + 1);
        words_.erase(found);
    }
    bool store_assignment(std::string_view name) {
        const auto found = assigned_.find(name);
        if (found != assigned_.end()) arguments.set_assignment(name, found->second);
        return true;
    }

    core::Words words_;
    std::size_t at_ = 1;
    std::map<std::string_view, std::string> assigned_;
};

// Values of commands are flat, and libraries for JSON recurse.
bool is_too_deep(std::string_view line) {
    constexpr int most = 4;
    int depth = 0;
    bool in_string = false;
    for (std::size_t i = 0; i < line.size() && depth <= most; ++i) {
        if (line[i] == '"') in_string = !in_string;
        if (in_string && line[i] == '\\') ++i;
        if (in_string) continue;
        depth += (line[i] == '[' || line[i] == '{') ? 1 : 0;
        depth -= (line[i] == ']' || line[i] == '}') ? 1 : 0;
    }
    return depth > most;
}

Result<std::string> text_of(const Json& value) {
    if (value.is_string()) return core::checked_word(value.get<std::string>());
    if (value.is_number_unsigned()) return std::to_string(value.get<std::uint64_t>());
    if (value.is_number_integer()) return std::to_string(value.get<std::int64_t>());
    if (value.is_boolean()) return std::string(value.get<bool>() ? "on" : "off");
    return fail(std::errc::invalid_argument, "{} is neither a string nor a number", value.dump());
}

bool is_operation(const Json& object, std::string_view name) {
    const auto operation = object.find("op");
    return (operation != object.end() && *operation == name) ||
           (object.contains(name) && object.find("op") == object.end() &&
            object[std::string(name)] == true);
}

// Takes from the object what one form wants; false when a form does not fit.
Result<bool> take_json(const Parameter& parameter, Json& object, Arguments& arguments) {
    const std::string key = key_of(parameter.name);
    if (parameter.kind == Kind::literal) {
        if (!is_operation(object, parameter.name)) return false;
        object.erase("op");
        object.erase(key);
        arguments.set_literal(parameter.name);
        return true;
    }
    if (parameter.kind == Kind::rest) {
        for (const std::string& name : {key, std::string("args")}) {
            if (!object.contains(name)) continue;
            if (!object[name].is_array())
                return fail(std::errc::invalid_argument, "{} is not an array", name);
            for (const auto& item : object[name]) arguments.append(TRY(text_of(item)));
            object.erase(name);
        }
        return true;
    }
    if (const auto equals = key.find('='); equals != std::string::npos) {  // "name", "value"
        const std::string left = key.substr(0, equals);
        const std::string right = key.substr(equals + 1);
        if (!object.contains(left) || !object.contains(right)) return false;
        arguments.set(key, TRY(text_of(object[left])) + '=' + TRY(text_of(object[right])));
        object.erase(left);
        object.erase(right);
        return true;
    }
    const auto found = object.find(key);
    if (found == object.end()) return parameter.kind != Kind::word;
    if (parameter.kind == Kind::flag) {
        if (*found != false) arguments.set(key, std::string(parameter.name));
    } else if (parameter.kind == Kind::assign) {
        arguments.set_assignment(key, TRY(text_of(*found)));
    } else {
        arguments.set(key, TRY(text_of(*found)));
    }
    object.erase(key);
    return true;
}

Result<std::optional<Match>> match_form(const Command& form, Json object) {
    Match match{&form, {}};
    for (const auto& parameter : form.parameters) {
        if (parameter.kind == Kind::none) break;
        if (!TRY(take_json(parameter, object, match.arguments))) return std::optional<Match>{};
    }
    if (!object.empty()) return std::optional<Match>{};
    return std::optional(std::move(match));
}

}  // namespace

Result<Match> match_words(const core::Words& words) {
    const auto forms = forms_of(words.front());
    if (forms.empty()) return unknown_command(words.front());
    for (const Command& form : forms) {
        Reader reader(form, words);
        const bool fits =
            std::all_of(form.parameters.begin(), form.parameters.end(),
                        [&](const auto& parameter) { return reader.take(parameter); });
        if (fits && reader.done()) return Match{&form, std::move(reader.arguments)};
    }
    return wrong_usage(forms);
}

Result<Match> match_json(std::string_view line) {
    if (is_too_deep(line))
        return fail(std::errc::invalid_argument, "the object is nested too deep");
    Json object = Json::parse(line, nullptr, false);
    if (!object.is_object()) return fail(std::errc::invalid_argument, "not a JSON object");
    const auto name = object.find("cmd");
    if (name == object.end() || !name->is_string())
        return fail(std::errc::invalid_argument, "no \"cmd\" with a command's name");
    const auto command = name->get<std::string>();
    const auto forms = forms_of(command);
    if (forms.empty()) return unknown_command(command);
    object.erase("cmd");
    for (const Command& form : forms) {
        if (auto match = TRY(match_form(form, object))) return std::move(*match);
    }
    return wrong_usage(forms);
}

}  // namespace proc9::ctl
