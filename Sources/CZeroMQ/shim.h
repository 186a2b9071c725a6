#include <malloc.h> // mallopt: libzmq's frames come from glibc's malloc
#include <zmq.h>
