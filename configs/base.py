"""What every configuration has: each field with its unit, and the data set-ups that all tasks share."""

from ml_collections import ConfigDict

from mils_jax.errors import unknown

VARIANTS = ('shapes', 'mini_imagenet', 'cifar10')


def base_config(name: str) -> ConfigDict:
  """A configuration without a model: the built-in shapes, crop and flip, SGD with a cosine schedule."""
  config = ConfigDict()
  config.name = name  # names the run folder
  config.data = _data()
  config.channels = _channels()
  config.model = _model()
  config.augment = _augment()
  config.optimizer = _optimizer()
  config.train = _train()
  config.checkpoint = _checkpoint()  # changes no result: may differ when a run goes on; an epoch's end is always saved
  config.evaluation = _evaluation()  # changes no training: may differ when a run is looked at again
  config.runtime = _runtime()  # changes no result: may differ when a run goes on
  return config


def _data() -> ConfigDict:
  """Which images, and how they are read."""
  data = ConfigDict()
  data.source = 'shapes'  # shapes, folder, arrays or tfds
  data.path = ''  # folder: its root; arrays: the .npz or the folder of .npy; tfds: its data folder, or empty
  data.image_size = 32  # pixels; 0: the images' own size
  data.normalization = 'data'  # data: mean and deviation of the training split; imagenet: ImageNet's (R, G, B)
  data.seed = 0  # of the cut of missing splits, and of the drawing of shapes
  data.channel_names = ''  # comma-separated; empty: what the data says
  data.channel_axis = ''  # first or last, where TIFF files and arrays do not say
  data.allow_outside = False  # folder: let images lie outside of it, by a list's paths or by links
  data.val_fraction = 0.1  # of the training split, where there is no validation split
  data.test_fraction = 0.1  # likewise for a missing test split
  data.num_train = 5000  # shapes: images of each split
  data.num_val = 500
  data.num_test = 1000
  data.tfds_name = ''  # tfds: name of the set, such as cifar10 or eurosat/all
  data.image_key = 'image'  # tfds: its features
  data.label_key = 'label'
  data.train_split = 'train'  # tfds: names or slices, such as train[:90%]; empty: the set's own, or cut
  data.val_split = ''
  data.test_split = ''
  return data


def _channels() -> ConfigDict:
  """The model's input channels, and which channels a run is given and keeps."""
  channels = ConfigDict()
  channels.names = ''  # names of the model's input channels, comma-separated; empty: the data's
  channels.use = ''  # which of the data's channels the run is given: 'R,G', or RG for single letters; empty: all
  channels.dropout = 'none'  # channels that a training sample keeps: none: all; independent or hierarchical
  channels.dropout_rate = 0.5  # independent: probability of dropping each
  channels.dropout_per = 'sample'  # sample or batch: which draws for itself
  return channels


def _model() -> ConfigDict:
  """What all networks have."""
  model = ConfigDict()
  model.name = ''  # dynamic_resnet12, wide_cnn or resnet34
  model.num_classes = 0  # logits; 0: the data's classes
  model.imputation = 'zero'  # of missing channels: zero, learned, or mlp (predicted from the present ones)
  model.rescale = False  # multiply the present channels by in_channels / their number
  return model


def _augment() -> ConfigDict:
  """What is done to training images."""
  augment = ConfigDict()
  augment.crop_padding = 4  # pixels of padding before a random crop; 0: no crop
  augment.horizontal_flip = True
  augment.vertical_flip = False  # for images seen from above
  augment.rot90 = False  # likewise; needs square images
  augment.resized_crop_min_area = 0.0  # least share of the area that a random resized crop keeps; 0: none
  augment.brightness = 0.0  # largest relative change of each channel's brightness
  augment.contrast = 0.0  # and contrast
  augment.mixup_alpha = 0.0  # of MixUp's Beta distribution; 0: no MixUp
  augment.cutmix_alpha = 0.0  # of CutMix's; with both, each image gets either
  return augment


def _optimizer() -> ConfigDict:
  """SGD with a cosine schedule."""
  optimizer = ConfigDict()
  optimizer.name = 'sgd'  # sgd or adamw
  optimizer.learning_rate = 0.1  # the highest; a cosine takes it to 0
  optimizer.momentum = 0.9  # adamw: decay of the first moment
  optimizer.weight_decay = 5e-4
  optimizer.decay_all = False  # decay norms and biases too
  optimizer.warmup_epochs = 0.5  # epochs of linear warm-up, may be a fraction
  optimizer.stepped_per_epoch = False  # hold the learning rate during an epoch
  return optimizer


def _train() -> ConfigDict:
  """How long, in what batches, and what to do when numbers go wrong."""
  train = ConfigDict()
  train.epochs = 6
  train.batch_size = 64  # of all devices together
  train.seed = 0
  train.label_smoothing = 0.1
  train.precision = 'auto'  # float32, bfloat16, or auto: bfloat16 on GPU and TPU
  train.on_nonfinite = 'stop'  # when loss, gradient or a parameter is non-finite; skip: leave that step out
  train.nonfinite_limit = 10  # steps that may be skipped before the run stops all the same
  train.deterministic = False  # on GPUs: the same bits in every run, by slower kernels
  train.init_from = ''  # run folder whose best weights to start from, as far as they fit
  return train


def _checkpoint() -> ConfigDict:
  """When the state is saved."""
  checkpoint = ConfigDict()
  checkpoint.every_steps = 0  # also after so many steps; 0: not
  checkpoint.every_minutes = 10.0  # also when so many minutes have passed since the last; 0: not
  return checkpoint


def _evaluation() -> ConfigDict:
  """What is tested beside the whole."""
  evaluation = ConfigDict()
  evaluation.all_subsets_up_to = 8  # channels, by --mode subsets; of more: each alone, all but one, all, and
  evaluation.sampled_subsets = 100  # so many others
  evaluation.seed = 0  # of their choice
  return evaluation


def _runtime() -> ConfigDict:
  """Where and how it runs."""
  runtime = ConfigDict()
  runtime.devices = 0  # how many of the local devices, of each process; 0: all
  runtime.join_timeout = 300  # seconds in which all processes of a run must have started
  runtime.heartbeat_timeout = 100  # seconds after which a process that is not heard is predicted as dead
  runtime.data_placement = 'auto'  # resident: the set lies on the devices; streamed: it is read as needed; auto: by size
  runtime.cache = ''  # folder for dataset caches and compiled programs; empty: the user's cache folder
  return runtime


def select_data(config: ConfigDict, variant: str) -> None:
  """Turns to another data set-up; `mini_imagenet` is the report's, with its recipe."""
  if variant == 'shapes':
    return
  if variant == 'mini_imagenet':
    config.data.source = 'folder'
    config.data.image_size = 84
    config.data.normalization = 'imagenet'
    config.channels.names = 'R,G,B'
    config.model.num_classes = 100
    config.optimizer.update(name='sgd', learning_rate=0.1, momentum=0.9, decay_all=True, warmup_epochs=0.0,
                            stepped_per_epoch=True)
    config.train.epochs = 100
  elif variant == 'cifar10':
    config.data.source = 'tfds'
    config.data.tfds_name = 'cifar10'
    config.data.image_size = 32
    config.channels.names = 'R,G,B'
    config.model.num_classes = 10
    config.optimizer.learning_rate = 0.1
    config.train.epochs = 30
    config.train.batch_size = 128
  else:
    raise unknown('variant', variant, VARIANTS)
