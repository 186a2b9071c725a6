// The messages of proto/cluster.proto; proto/generate writes cluster.pb-c.h and cluster.pb-c.c.
#include "cluster.pb-c.h"
