#ifndef SHOAL_CMICROHTTPD_SHIM_H
#define SHOAL_CMICROHTTPD_SHIM_H

#include <microhttpd.h>

// Swift cannot call variadic functions; these say the same with a fixed list of arguments.

/// Starts a daemon with one epoll thread on a listening socket. Returns NULL on failure; the socket then stays the
/// caller's.
static inline struct MHD_Daemon *shoal_mhd_start(int listen_socket, unsigned int connection_limit,
                                                 unsigned int idle_seconds, size_t connection_memory,
                                                 MHD_AccessHandlerCallback handle,
                                                 MHD_RequestCompletedCallback completed, void *context)
{
    return MHD_start_daemon(MHD_USE_EPOLL_INTERNAL_THREAD | MHD_ALLOW_SUSPEND_RESUME, 0, NULL, NULL, handle, context,
                            MHD_OPTION_LISTEN_SOCKET, listen_socket,
                            MHD_OPTION_CONNECTION_LIMIT, connection_limit,
                            MHD_OPTION_CONNECTION_TIMEOUT, idle_seconds,
                            MHD_OPTION_CONNECTION_MEMORY_LIMIT, connection_memory,
                            MHD_OPTION_STRICT_FOR_CLIENT, 1,
                            MHD_OPTION_NOTIFY_COMPLETED, completed, context,
                            MHD_OPTION_END);
}

/// The connection's socket, or -1.
static inline int shoal_mhd_socket(struct MHD_Connection *connection)
{
    const union MHD_ConnectionInfo *info = MHD_get_connection_info(connection, MHD_CONNECTION_INFO_CONNECTION_FD);
    return info ? info->connect_fd : -1;
}

#endif
