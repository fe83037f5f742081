from .mesh import data_group, data_rank, mesh_of, num_replicas, sharing_batches

__all__ = ['data_group', 'data_rank', 'mesh_of', 'num_replicas', 'sharing_batches']
