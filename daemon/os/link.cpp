#include "daemon/os/link.hpp"

#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <cstring>

#include "fs/core/host.hpp"

namespace proc9::os {
namespace {

core::Result<> tell_senders(int end) {
    const int on = 1;
    TRY(check("setsockopt", ::setsockopt(end, SOL_SOCKET, SO_PASSCRED, &on, sizeof on)));
    return {};
}

int option_of(int socket, int name) {
    int value = -1;
    socklen_t size = sizeof value;
    (void)::getsockopt(socket, SOL_SOCKET, name, &value, &size);
    return value;
}

}  // namespace

core::Result<std::pair<UniqueFd, UniqueFd>> Link::make_pair() {
    std::array<int, 2> ends{};
    TRY(check("socketpair", ::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends.data())));
    std::pair pair{UniqueFd(ends[0]), UniqueFd(ends[1])};
    TRY(tell_senders(pair.first.get()));
    return pair;
}

core::Result<> Link::check_foreign(int end) {
    if (option_of(end, SO_DOMAIN) != AF_UNIX || option_of(end, SO_TYPE) != SOCK_SEQPACKET)
        return core::fail(std::errc::invalid_argument,
                          "the descriptor is not one end of a pair of SOCK_SEQPACKET sockets");
    return tell_senders(end);
}

Link::Link(Loop& loop, UniqueFd end, Counters& counters)
    : loop_(loop), end_(std::move(end)), counters_(counters) {
    if (end_) watch_ = loop_.on_readable(end_.get(), [this] { readable(); });
}

void Link::readable() {
    std::array<char, Batch::capacity> bytes;
    alignas(cmsghdr) std::array<char, CMSG_SPACE(sizeof(ucred))> control;
    iovec span{bytes.data(), bytes.size()};
    msghdr header{};
    header.msg_iov = &span;
    header.msg_iovlen = 1;
    header.msg_control = control.data();
    header.msg_controllen = control.size();
    const auto got = ::recvmsg(end_.get(), &header, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
    if (got < 0 && (errno == EAGAIN || errno == EINTR)) return;
    if (got <= 0) {
        close();
        return;
    }
    Message message{std::string(bytes.data(), static_cast<std::size_t>(got)), 0};
    const cmsghdr* const extra = CMSG_FIRSTHDR(&header);
    if (extra && extra->cmsg_level == SOL_SOCKET && extra->cmsg_type == SCM_CREDENTIALS) {
        ucred sender{};
        std::memcpy(&sender, CMSG_DATA(extra), sizeof sender);
        message.sender = sender.pid;
    }
    if (auto* const waiting = std::exchange(waiting_, nullptr)) {
        (void)waiting->set(std::move(message));
    } else {
        early_ = std::move(message);
    }
}

void Link::close() {
    if (!end_) return;
    watch_.reset();
    end_.reset();
    const auto closed = std::exchange(closed_, nullptr);
    auto* const waiting = std::exchange(waiting_, nullptr);
    if (closed) closed();
    if (waiting) (void)waiting->set(std::nullopt);  // last: may destroy this
}

core::Task<core::Result<std::optional<Link::Message>>> Link::next_message() {
    if (early_) co_return std::exchange(early_, std::nullopt);
    if (!end_) co_return std::optional<Message>{};
    core::Later<std::optional<Message>> next;
    waiting_ = &next;
    co_return co_await next;
}

core::Task<core::Result<Link::Hello>> Link::hello() {
    const auto message = co_await next_message();
    proc9_hello said{};
    if (!message || message->bytes.size() != sizeof said) co_return core::refused("hello", ESRCH);
    std::memcpy(&said, message->bytes.data(), sizeof said);
    const auto number = std::min<std::uint64_t>(said.link, core::highest_descriptor);
    const std::uint64_t base = said.base & ~(core::page_size - 1);
    const auto pages =
        co_await core::checked_range(core::Address{base}, std::uint64_t{PROC9_STUB_SIZE});
    co_return Hello{message->sender, static_cast<int>(number), pages.start};
}

core::Result<> Link::send_pages(std::string_view code) {
    if (!end_) return core::refused("send", ESRCH);
    const proc9_pages pages{PROC9_STUB_BASE, PROC9_STUB_SIZE, code.size()};
    std::string bytes(reinterpret_cast<const char*>(&pages), sizeof pages);  // NOLINT
    bytes += code;
    iovec span{bytes.data(), bytes.size()};
    msghdr header{};
    header.msg_iov = &span;
    header.msg_iovlen = 1;
    return transmit(header);
}

core::Result<> Link::send(const Batch& batch, bool answer) {
    if (!end_) return core::refused("send", ESRCH);
    if (!batch.fits() || batch.descriptors().size() > PROC9_MOST_DESCRIPTORS)
        return core::refused("send", E2BIG);
    early_.reset();  // it answers nothing that was asked
    std::string message = batch.encode(answer);
    iovec span{message.data(), message.size()};
    alignas(cmsghdr) std::array<char, CMSG_SPACE(PROC9_MOST_DESCRIPTORS * sizeof(int))> control{};
    msghdr header{};
    header.msg_iov = &span;
    header.msg_iovlen = 1;
    if (!batch.descriptors().empty()) {
        std::array<int, PROC9_MOST_DESCRIPTORS> numbers{};
        std::size_t count = 0;
        for (const auto& descriptor : batch.descriptors())
            numbers.at(count++) = descriptor->number();
        header.msg_control = control.data();
        header.msg_controllen = CMSG_SPACE(count * sizeof(int));
        cmsghdr* const rights = CMSG_FIRSTHDR(&header);
        rights->cmsg_level = SOL_SOCKET;
        rights->cmsg_type = SCM_RIGHTS;
        rights->cmsg_len = CMSG_LEN(count * sizeof(int));
        std::memcpy(CMSG_DATA(rights), numbers.data(), count * sizeof(int));
    }
    ++sent_;
    ++counters_.batches;
    counters_.remote_calls += batch.count();
    return transmit(header);
}

core::Result<> Link::transmit(const msghdr& message) {
    if (::sendmsg(end_.get(), &message, MSG_NOSIGNAL | MSG_DONTWAIT) < 0) {
        const int problem = errno;
        if (problem != EPIPE && problem != ECONNRESET) return core::refused("send", problem);
        close();  // nobody is there any more
        return core::refused("send", ESRCH);
    }
    return {};
}

core::Task<core::Result<std::optional<Replies>>> Link::run_or_close(const Batch& batch) {
    co_await send(batch, true);
    auto message = co_await next_message();
    if (!message) co_return std::optional<Replies>{};
    co_return std::optional(Replies(batch, std::move(message->bytes)));
}

}  // namespace proc9::os
